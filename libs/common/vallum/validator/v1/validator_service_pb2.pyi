import datetime

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

class ReportState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_STATE_UNSPECIFIED: _ClassVar[ReportState]
    REPORT_STATE_QUEUED: _ClassVar[ReportState]
    REPORT_STATE_RUNNING: _ClassVar[ReportState]
    REPORT_STATE_COMPLETED: _ClassVar[ReportState]
REPORT_STATE_UNSPECIFIED: ReportState
REPORT_STATE_QUEUED: ReportState
REPORT_STATE_RUNNING: ReportState
REPORT_STATE_COMPLETED: ReportState

class ScanRequest(_message.Message):
    __slots__ = ("name", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class ScanResponse(_message.Message):
    __slots__ = ("file", "rules_digest")
    FILE_FIELD_NUMBER: _ClassVar[int]
    RULES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    file: _evidence_pb2.FileReport
    rules_digest: str
    def __init__(self, file: _Optional[_Union[_evidence_pb2.FileReport, _Mapping]] = ..., rules_digest: _Optional[str] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("submission_id",)
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    def __init__(self, submission_id: _Optional[str] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("submission_id", "model", "state", "stage", "scan", "checks", "isolation", "started_at", "completed_at", "signature", "thresholds_digest")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    state: ReportState
    stage: str
    scan: _evidence_pb2.ScanReport
    checks: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.CheckResult]
    isolation: _evidence_pb2.Isolation
    started_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    signature: _evidence_pb2.SignatureReport
    thresholds_digest: str
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., state: _Optional[_Union[ReportState, str]] = ..., stage: _Optional[str] = ..., scan: _Optional[_Union[_evidence_pb2.ScanReport, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[_evidence_pb2.CheckResult, _Mapping]]] = ..., isolation: _Optional[_Union[_evidence_pb2.Isolation, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., signature: _Optional[_Union[_evidence_pb2.SignatureReport, _Mapping]] = ..., thresholds_digest: _Optional[str] = ...) -> None: ...

class ListChecksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListChecksResponse(_message.Message):
    __slots__ = ("checks", "thresholds_digest", "rules_digest")
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RULES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    thresholds_digest: str
    rules_digest: str
    def __init__(self, checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., thresholds_digest: _Optional[str] = ..., rules_digest: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "measures")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEASURES_FIELD_NUMBER: _ClassVar[int]
    name: str
    measures: str
    def __init__(self, name: _Optional[str] = ..., measures: _Optional[str] = ...) -> None: ...
