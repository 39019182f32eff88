import datetime

from google.protobuf import struct_pb2 as _struct_pb2
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

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_APPROVED: _ClassVar[Verdict]
    VERDICT_APPROVED_WITH_CONDITIONS: _ClassVar[Verdict]
    VERDICT_REJECTED: _ClassVar[Verdict]
    VERDICT_NEEDS_REVIEW: _ClassVar[Verdict]
VERDICT_UNSPECIFIED: Verdict
VERDICT_APPROVED: Verdict
VERDICT_APPROVED_WITH_CONDITIONS: Verdict
VERDICT_REJECTED: Verdict
VERDICT_NEEDS_REVIEW: Verdict

class Reason(_message.Message):
    __slots__ = ("rule", "severity", "message", "values")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    rule: str
    severity: str
    message: str
    values: _struct_pb2.Struct
    def __init__(self, rule: _Optional[str] = ..., severity: _Optional[str] = ..., message: _Optional[str] = ..., values: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ComplianceDecided(_message.Message):
    __slots__ = ("submission_id", "model", "verdict", "reasons", "policy_digest", "input_digest", "attestation", "decided_at")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INPUT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    verdict: Verdict
    reasons: _containers.RepeatedCompositeFieldContainer[Reason]
    policy_digest: str
    input_digest: str
    attestation: bytes
    decided_at: _timestamp_pb2.Timestamp
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[Reason, _Mapping]]] = ..., policy_digest: _Optional[str] = ..., input_digest: _Optional[str] = ..., attestation: _Optional[bytes] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
