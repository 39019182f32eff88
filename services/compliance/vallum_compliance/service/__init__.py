"""What compliance does: it decides on submissions and keeps the audit log. The two know nothing of each other."""

from vallum_compliance.service.audit import AuditLog, AuditStore, AuditUnit
from vallum_compliance.service.decisions import Decisions, DecisionStore, DecisionUnit, Policy, Signer

__all__ = [
    "AuditLog",
    "AuditStore",
    "AuditUnit",
    "DecisionStore",
    "DecisionUnit",
    "Decisions",
    "Policy",
    "Signer",
]
