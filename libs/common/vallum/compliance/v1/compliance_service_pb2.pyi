import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.compliance.v1 import decision_pb2 as _decision_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetDecisionRequest(_message.Message):
    __slots__ = ("submission_id", "model", "version")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: str
    version: str
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetDecisionResponse(_message.Message):
    __slots__ = ("decision", "scan_attestation")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SCAN_ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    decision: _decision_pb2.ComplianceDecided
    scan_attestation: bytes
    def __init__(self, decision: _Optional[_Union[_decision_pb2.ComplianceDecided, _Mapping]] = ..., scan_attestation: _Optional[bytes] = ...) -> None: ...

class EvaluatePolicyRequest(_message.Message):
    __slots__ = ("submission_id",)
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    def __init__(self, submission_id: _Optional[str] = ...) -> None: ...

class EvaluatePolicyResponse(_message.Message):
    __slots__ = ("verdict", "reasons", "policy_digest", "input_digest", "input", "agrees")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    AGREES_FIELD_NUMBER: _ClassVar[int]
    verdict: _decision_pb2.Verdict
    reasons: _containers.RepeatedCompositeFieldContainer[_decision_pb2.Reason]
    policy_digest: str
    input_digest: str
    input: _struct_pb2.Struct
    agrees: bool
    def __init__(self, verdict: _Optional[_Union[_decision_pb2.Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[_decision_pb2.Reason, _Mapping]]] = ..., policy_digest: _Optional[str] = ..., input_digest: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., agrees: _Optional[bool] = ...) -> None: ...

class ReplayRequest(_message.Message):
    __slots__ = ("from_index", "since", "model", "follow")
    FROM_INDEX_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    from_index: int
    since: _timestamp_pb2.Timestamp
    model: str
    follow: bool
    def __init__(self, from_index: _Optional[int] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model: _Optional[str] = ..., follow: _Optional[bool] = ...) -> None: ...

class ReplayResponse(_message.Message):
    __slots__ = ("index", "type", "id", "source", "subject", "time", "data", "topic", "recorded_at")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    index: int
    type: str
    id: str
    source: str
    subject: str
    time: _timestamp_pb2.Timestamp
    data: bytes
    topic: str
    recorded_at: _timestamp_pb2.Timestamp
    def __init__(self, index: _Optional[int] = ..., type: _Optional[str] = ..., id: _Optional[str] = ..., source: _Optional[str] = ..., subject: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[bytes] = ..., topic: _Optional[str] = ..., recorded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
