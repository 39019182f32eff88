"""The only translation between protobuf and the domain, both ways. Incomplete input is refused, naming the field."""

from vallum_compliance.wire.audit import parse_audit_event, parse_selection, replay_response
from vallum_compliance.wire.decisions import EventWriter, decision_message, evaluation_response, require_decision_name
from vallum_compliance.wire.evidence import parse_risk, parse_validation
from vallum_compliance.wire.fields import required

__all__ = [
    "EventWriter",
    "decision_message",
    "evaluation_response",
    "parse_audit_event",
    "parse_risk",
    "parse_selection",
    "parse_validation",
    "replay_response",
    "require_decision_name",
    "required",
]
