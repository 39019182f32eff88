"""Protobuf to domain and back; the only room that knows both."""

from vallum_registry.wire.answers import (
    deployment_message,
    details_message,
    family_message,
    history_message,
    page_message,
    quarantine_message,
    reference_message,
    release_message,
    rollback_message,
    watch_message,
)
from vallum_registry.wire.events import EventWriter, correction_from, decision_from
from vallum_registry.wire.requests import (
    ListRequest,
    cause_from,
    checked_sha256,
    checked_text,
    chunks_from,
    header_from,
    list_request_from,
    model_or_version_from,
    version_from,
)

__all__ = [
    "EventWriter",
    "ListRequest",
    "cause_from",
    "checked_sha256",
    "checked_text",
    "chunks_from",
    "correction_from",
    "decision_from",
    "deployment_message",
    "details_message",
    "family_message",
    "header_from",
    "history_message",
    "list_request_from",
    "model_or_version_from",
    "page_message",
    "quarantine_message",
    "reference_message",
    "release_message",
    "rollback_message",
    "version_from",
    "watch_message",
]
