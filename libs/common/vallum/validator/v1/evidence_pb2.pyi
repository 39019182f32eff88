from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_OUTCOME_UNSPECIFIED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_PASS: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_FAIL: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_INCONCLUSIVE: _ClassVar[CheckOutcome]

class ScanVerdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCAN_VERDICT_UNSPECIFIED: _ClassVar[ScanVerdict]
    SCAN_VERDICT_CLEAN: _ClassVar[ScanVerdict]
    SCAN_VERDICT_MALICIOUS: _ClassVar[ScanVerdict]
    SCAN_VERDICT_UNKNOWN: _ClassVar[ScanVerdict]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_INFO: _ClassVar[Severity]
    SEVERITY_LOW: _ClassVar[Severity]
    SEVERITY_MEDIUM: _ClassVar[Severity]
    SEVERITY_HIGH: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]

class SignatureOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNATURE_OUTCOME_UNSPECIFIED: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_NOT_SIGNED: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_VERIFIED: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_UNTRUSTED: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_NOT_ALLOWED: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_INVALID: _ClassVar[SignatureOutcome]
    SIGNATURE_OUTCOME_UNKNOWN: _ClassVar[SignatureOutcome]
CHECK_OUTCOME_UNSPECIFIED: CheckOutcome
CHECK_OUTCOME_PASS: CheckOutcome
CHECK_OUTCOME_FAIL: CheckOutcome
CHECK_OUTCOME_INCONCLUSIVE: CheckOutcome
SCAN_VERDICT_UNSPECIFIED: ScanVerdict
SCAN_VERDICT_CLEAN: ScanVerdict
SCAN_VERDICT_MALICIOUS: ScanVerdict
SCAN_VERDICT_UNKNOWN: ScanVerdict
SEVERITY_UNSPECIFIED: Severity
SEVERITY_INFO: Severity
SEVERITY_LOW: Severity
SEVERITY_MEDIUM: Severity
SEVERITY_HIGH: Severity
SEVERITY_CRITICAL: Severity
SIGNATURE_OUTCOME_UNSPECIFIED: SignatureOutcome
SIGNATURE_OUTCOME_NOT_SIGNED: SignatureOutcome
SIGNATURE_OUTCOME_VERIFIED: SignatureOutcome
SIGNATURE_OUTCOME_UNTRUSTED: SignatureOutcome
SIGNATURE_OUTCOME_NOT_ALLOWED: SignatureOutcome
SIGNATURE_OUTCOME_INVALID: SignatureOutcome
SIGNATURE_OUTCOME_UNKNOWN: SignatureOutcome

class Finding(_message.Message):
    __slots__ = ("rule", "severity", "member", "offset", "message")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    rule: str
    severity: Severity
    member: str
    offset: int
    message: str
    def __init__(self, rule: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., member: _Optional[str] = ..., offset: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class FileReport(_message.Message):
    __slots__ = ("path", "sha256", "size_bytes", "format", "verdict", "findings")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: str
    size_bytes: int
    format: str
    verdict: ScanVerdict
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., format: _Optional[str] = ..., verdict: _Optional[_Union[ScanVerdict, str]] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class ScanReport(_message.Message):
    __slots__ = ("verdict", "files", "rules_digest", "scanner_version")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    RULES_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCANNER_VERSION_FIELD_NUMBER: _ClassVar[int]
    verdict: ScanVerdict
    files: _containers.RepeatedCompositeFieldContainer[FileReport]
    rules_digest: str
    scanner_version: str
    def __init__(self, verdict: _Optional[_Union[ScanVerdict, str]] = ..., files: _Optional[_Iterable[_Union[FileReport, _Mapping]]] = ..., rules_digest: _Optional[str] = ..., scanner_version: _Optional[str] = ...) -> None: ...

class SignatureReport(_message.Message):
    __slots__ = ("outcome", "publisher", "method", "key_id", "scope", "digest", "reason", "publishers_digest")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PUBLISHER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PUBLISHERS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    outcome: SignatureOutcome
    publisher: str
    method: str
    key_id: str
    scope: str
    digest: str
    reason: str
    publishers_digest: str
    def __init__(self, outcome: _Optional[_Union[SignatureOutcome, str]] = ..., publisher: _Optional[str] = ..., method: _Optional[str] = ..., key_id: _Optional[str] = ..., scope: _Optional[str] = ..., digest: _Optional[str] = ..., reason: _Optional[str] = ..., publishers_digest: _Optional[str] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class CheckResult(_message.Message):
    __slots__ = ("name", "outcome", "value", "interval", "confidence", "samples", "method", "seed", "reason", "details")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    name: str
    outcome: CheckOutcome
    value: float
    interval: Interval
    confidence: float
    samples: int
    method: str
    seed: int
    reason: str
    details: _struct_pb2.Struct
    def __init__(self, name: _Optional[str] = ..., outcome: _Optional[_Union[CheckOutcome, str]] = ..., value: _Optional[float] = ..., interval: _Optional[_Union[Interval, _Mapping]] = ..., confidence: _Optional[float] = ..., samples: _Optional[int] = ..., method: _Optional[str] = ..., seed: _Optional[int] = ..., reason: _Optional[str] = ..., details: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Isolation(_message.Message):
    __slots__ = ("mechanism", "landlock_abi", "seccomp", "degraded")
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    LANDLOCK_ABI_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    mechanism: str
    landlock_abi: int
    seccomp: bool
    degraded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, mechanism: _Optional[str] = ..., landlock_abi: _Optional[int] = ..., seccomp: _Optional[bool] = ..., degraded: _Optional[_Iterable[str]] = ...) -> None: ...

class FeatureBaseline(_message.Message):
    __slots__ = ("name", "categories", "edges", "counts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    edges: _containers.RepeatedScalarFieldContainer[float]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., edges: _Optional[_Iterable[float]] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...
