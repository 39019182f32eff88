import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from vallum.registry.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CorrectionOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CORRECTION_OUTCOME_UNSPECIFIED: _ClassVar[CorrectionOutcome]
    CORRECTION_OUTCOME_APPLIED: _ClassVar[CorrectionOutcome]
    CORRECTION_OUTCOME_UNNECESSARY: _ClassVar[CorrectionOutcome]
    CORRECTION_OUTCOME_FAILED: _ClassVar[CorrectionOutcome]
CORRECTION_OUTCOME_UNSPECIFIED: CorrectionOutcome
CORRECTION_OUTCOME_APPLIED: CorrectionOutcome
CORRECTION_OUTCOME_UNNECESSARY: CorrectionOutcome
CORRECTION_OUTCOME_FAILED: CorrectionOutcome

class ModelSubmitted(_message.Message):
    __slots__ = ("submission_id", "model", "manifest", "files", "submitted_by", "submitted_at")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    manifest: bytes
    files: _containers.RepeatedCompositeFieldContainer[_model_pb2.BundleFile]
    submitted_by: str
    submitted_at: _timestamp_pb2.Timestamp
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., manifest: _Optional[bytes] = ..., files: _Optional[_Iterable[_Union[_model_pb2.BundleFile, _Mapping]]] = ..., submitted_by: _Optional[str] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeploymentChanged(_message.Message):
    __slots__ = ("deployment_id", "model", "environment", "state", "other", "actor", "reason", "changed_at", "submission_id")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    model: _model_pb2.ModelReference
    environment: str
    state: _model_pb2.DeploymentState
    other: _model_pb2.ModelReference
    actor: str
    reason: str
    changed_at: _timestamp_pb2.Timestamp
    submission_id: str
    def __init__(self, deployment_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., state: _Optional[_Union[_model_pb2.DeploymentState, str]] = ..., other: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., submission_id: _Optional[str] = ...) -> None: ...

class CorrectionApplied(_message.Message):
    __slots__ = ("correction_id", "model", "environment", "outcome", "reason", "applied_at", "alert_id")
    CORRECTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    correction_id: str
    model: _model_pb2.ModelReference
    environment: str
    outcome: CorrectionOutcome
    reason: str
    applied_at: _timestamp_pb2.Timestamp
    alert_id: str
    def __init__(self, correction_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., outcome: _Optional[_Union[CorrectionOutcome, str]] = ..., reason: _Optional[str] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alert_id: _Optional[str] = ...) -> None: ...
