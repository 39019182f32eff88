import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FileRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_ROLE_UNSPECIFIED: _ClassVar[FileRole]
    FILE_ROLE_ARTIFACT: _ClassVar[FileRole]
    FILE_ROLE_EVALUATION: _ClassVar[FileRole]
    FILE_ROLE_MEMBERS: _ClassVar[FileRole]
    FILE_ROLE_POPULATION: _ClassVar[FileRole]
    FILE_ROLE_CARD: _ClassVar[FileRole]
    FILE_ROLE_SIGNATURE: _ClassVar[FileRole]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_SUBMITTED: _ClassVar[ModelState]
    MODEL_STATE_APPROVED: _ClassVar[ModelState]
    MODEL_STATE_REJECTED: _ClassVar[ModelState]
    MODEL_STATE_NEEDS_REVIEW: _ClassVar[ModelState]
    MODEL_STATE_QUARANTINED: _ClassVar[ModelState]

class DeploymentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DEPLOYMENT_STATE_UNSPECIFIED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_ACTIVE: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_SUPERSEDED: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_ROLLED_BACK: _ClassVar[DeploymentState]
    DEPLOYMENT_STATE_QUARANTINED: _ClassVar[DeploymentState]
FILE_ROLE_UNSPECIFIED: FileRole
FILE_ROLE_ARTIFACT: FileRole
FILE_ROLE_EVALUATION: FileRole
FILE_ROLE_MEMBERS: FileRole
FILE_ROLE_POPULATION: FileRole
FILE_ROLE_CARD: FileRole
FILE_ROLE_SIGNATURE: FileRole
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_SUBMITTED: ModelState
MODEL_STATE_APPROVED: ModelState
MODEL_STATE_REJECTED: ModelState
MODEL_STATE_NEEDS_REVIEW: ModelState
MODEL_STATE_QUARANTINED: ModelState
DEPLOYMENT_STATE_UNSPECIFIED: DeploymentState
DEPLOYMENT_STATE_ACTIVE: DeploymentState
DEPLOYMENT_STATE_SUPERSEDED: DeploymentState
DEPLOYMENT_STATE_ROLLED_BACK: DeploymentState
DEPLOYMENT_STATE_QUARANTINED: DeploymentState

class ModelReference(_message.Message):
    __slots__ = ("model", "version", "digest")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    digest: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class BundleFile(_message.Message):
    __slots__ = ("role", "path", "size_bytes", "sha256")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    role: FileRole
    path: str
    size_bytes: int
    sha256: str
    def __init__(self, role: _Optional[_Union[FileRole, str]] = ..., path: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("deployment_id", "model", "environment", "state", "changed_at")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    model: ModelReference
    environment: str
    state: DeploymentState
    changed_at: _timestamp_pb2.Timestamp
    def __init__(self, deployment_id: _Optional[str] = ..., model: _Optional[_Union[ModelReference, _Mapping]] = ..., environment: _Optional[str] = ..., state: _Optional[_Union[DeploymentState, str]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("at", "actor", "action", "from_state", "to_state", "reason", "environment")
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FROM_STATE_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    actor: str
    action: str
    from_state: ModelState
    to_state: ModelState
    reason: str
    environment: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., from_state: _Optional[_Union[ModelState, str]] = ..., to_state: _Optional[_Union[ModelState, str]] = ..., reason: _Optional[str] = ..., environment: _Optional[str] = ...) -> None: ...
