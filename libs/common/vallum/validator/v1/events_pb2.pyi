import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from vallum.registry.v1 import model_pb2 as _model_pb2
from vallum.validator.v1 import evidence_pb2 as _evidence_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValidationCompleted(_message.Message):
    __slots__ = ("submission_id", "model", "tier", "task", "scan", "checks", "isolation", "baseline", "thresholds_digest", "started_at", "completed_at", "vendor", "has_signature", "datasets", "datasets_with_digest", "vendor_contract_expires", "signature")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SCAN_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    HAS_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    DATASETS_WITH_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VENDOR_CONTRACT_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    tier: str
    task: str
    scan: _evidence_pb2.ScanReport
    checks: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.CheckResult]
    isolation: _evidence_pb2.Isolation
    baseline: _containers.RepeatedCompositeFieldContainer[_evidence_pb2.FeatureBaseline]
    thresholds_digest: str
    started_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    vendor: str
    has_signature: bool
    datasets: int
    datasets_with_digest: int
    vendor_contract_expires: str
    signature: _evidence_pb2.SignatureReport
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., tier: _Optional[str] = ..., task: _Optional[str] = ..., scan: _Optional[_Union[_evidence_pb2.ScanReport, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[_evidence_pb2.CheckResult, _Mapping]]] = ..., isolation: _Optional[_Union[_evidence_pb2.Isolation, _Mapping]] = ..., baseline: _Optional[_Iterable[_Union[_evidence_pb2.FeatureBaseline, _Mapping]]] = ..., thresholds_digest: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., vendor: _Optional[str] = ..., has_signature: _Optional[bool] = ..., datasets: _Optional[int] = ..., datasets_with_digest: _Optional[int] = ..., vendor_contract_expires: _Optional[str] = ..., signature: _Optional[_Union[_evidence_pb2.SignatureReport, _Mapping]] = ...) -> None: ...
