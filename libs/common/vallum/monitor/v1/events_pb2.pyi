import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from vallum.registry.v1 import model_pb2 as _model_pb2
from vallum.validator.v1 import evidence_pb2 as _evidence_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CorrectionAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CORRECTION_ACTION_UNSPECIFIED: _ClassVar[CorrectionAction]
    CORRECTION_ACTION_QUARANTINE: _ClassVar[CorrectionAction]
    CORRECTION_ACTION_ROLLBACK: _ClassVar[CorrectionAction]
CORRECTION_ACTION_UNSPECIFIED: CorrectionAction
CORRECTION_ACTION_QUARANTINE: CorrectionAction
CORRECTION_ACTION_ROLLBACK: CorrectionAction

class Column(_message.Message):
    __slots__ = ("name", "numbers", "texts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    numbers: _containers.RepeatedScalarFieldContainer[float]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., numbers: _Optional[_Iterable[float]] = ..., texts: _Optional[_Iterable[str]] = ...) -> None: ...

class InferenceObserved(_message.Message):
    __slots__ = ("batch_id", "model", "environment", "rows", "columns", "predictions", "observed_at", "clients")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    model: _model_pb2.ModelReference
    environment: str
    rows: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    predictions: _containers.RepeatedScalarFieldContainer[str]
    observed_at: _timestamp_pb2.Timestamp
    clients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, batch_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., rows: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., predictions: _Optional[_Iterable[str]] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., clients: _Optional[_Iterable[str]] = ...) -> None: ...

class AlertRaised(_message.Message):
    __slots__ = ("alert_id", "model", "environment", "detector", "severity", "confirmed", "message", "evidence", "raised_at", "deployment_id")
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    RAISED_AT_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    alert_id: str
    model: _model_pb2.ModelReference
    environment: str
    detector: str
    severity: _evidence_pb2.Severity
    confirmed: bool
    message: str
    evidence: _struct_pb2.Struct
    raised_at: _timestamp_pb2.Timestamp
    deployment_id: str
    def __init__(self, alert_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., detector: _Optional[str] = ..., severity: _Optional[_Union[_evidence_pb2.Severity, str]] = ..., confirmed: _Optional[bool] = ..., message: _Optional[str] = ..., evidence: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., raised_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deployment_id: _Optional[str] = ...) -> None: ...

class CorrectionRequested(_message.Message):
    __slots__ = ("correction_id", "model", "environment", "action", "reason", "alert_id", "requested_at", "policy_digest")
    CORRECTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    correction_id: str
    model: _model_pb2.ModelReference
    environment: str
    action: CorrectionAction
    reason: str
    alert_id: str
    requested_at: _timestamp_pb2.Timestamp
    policy_digest: str
    def __init__(self, correction_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., action: _Optional[_Union[CorrectionAction, str]] = ..., reason: _Optional[str] = ..., alert_id: _Optional[str] = ..., requested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., policy_digest: _Optional[str] = ...) -> None: ...
