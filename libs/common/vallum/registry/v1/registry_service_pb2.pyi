import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from vallum.registry.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitModelRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: UploadChunk
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[_Union[UploadChunk, _Mapping]] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("upload_id", "manifest", "files")
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    manifest: bytes
    files: _containers.RepeatedCompositeFieldContainer[_model_pb2.BundleFile]
    def __init__(self, upload_id: _Optional[str] = ..., manifest: _Optional[bytes] = ..., files: _Optional[_Iterable[_Union[_model_pb2.BundleFile, _Mapping]]] = ...) -> None: ...

class UploadChunk(_message.Message):
    __slots__ = ("offset", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SubmitModelResponse(_message.Message):
    __slots__ = ("submission_id", "model")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ...) -> None: ...

class ResumeUploadRequest(_message.Message):
    __slots__ = ("upload_id",)
    UPLOAD_ID_FIELD_NUMBER: _ClassVar[int]
    upload_id: str
    def __init__(self, upload_id: _Optional[str] = ...) -> None: ...

class ResumeUploadResponse(_message.Message):
    __slots__ = ("received_bytes", "submission_id")
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    received_bytes: int
    submission_id: str
    def __init__(self, received_bytes: _Optional[int] = ..., submission_id: _Optional[str] = ...) -> None: ...

class WatchSubmissionRequest(_message.Message):
    __slots__ = ("submission_id",)
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    def __init__(self, submission_id: _Optional[str] = ...) -> None: ...

class WatchSubmissionResponse(_message.Message):
    __slots__ = ("submission_id", "model", "state", "changed_at", "verdict")
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    submission_id: str
    model: _model_pb2.ModelReference
    state: _model_pb2.ModelState
    changed_at: _timestamp_pb2.Timestamp
    verdict: str
    def __init__(self, submission_id: _Optional[str] = ..., model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., state: _Optional[_Union[_model_pb2.ModelState, str]] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verdict: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "state", "submission_id", "verdict", "tier", "task", "owner", "intended_use", "submitted_by", "submitted_at", "files", "deployments", "attestation")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    INTENDED_USE_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    state: _model_pb2.ModelState
    submission_id: str
    verdict: str
    tier: str
    task: str
    owner: str
    intended_use: str
    submitted_by: str
    submitted_at: _timestamp_pb2.Timestamp
    files: _containers.RepeatedCompositeFieldContainer[_model_pb2.BundleFile]
    deployments: _containers.RepeatedCompositeFieldContainer[_model_pb2.Deployment]
    attestation: bytes
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., state: _Optional[_Union[_model_pb2.ModelState, str]] = ..., submission_id: _Optional[str] = ..., verdict: _Optional[str] = ..., tier: _Optional[str] = ..., task: _Optional[str] = ..., owner: _Optional[str] = ..., intended_use: _Optional[str] = ..., submitted_by: _Optional[str] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., files: _Optional[_Iterable[_Union[_model_pb2.BundleFile, _Mapping]]] = ..., deployments: _Optional[_Iterable[_Union[_model_pb2.Deployment, _Mapping]]] = ..., attestation: _Optional[bytes] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelSummary]
    next_page_token: str
    def __init__(self, models: _Optional[_Iterable[_Union[ModelSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("model", "state", "verdict", "tier", "owner", "submitted_at", "active_environments")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    state: _model_pb2.ModelState
    verdict: str
    tier: str
    owner: str
    submitted_at: _timestamp_pb2.Timestamp
    active_environments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., state: _Optional[_Union[_model_pb2.ModelState, str]] = ..., verdict: _Optional[str] = ..., tier: _Optional[str] = ..., owner: _Optional[str] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., active_environments: _Optional[_Iterable[str]] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[VersionedHistoryEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[VersionedHistoryEntry, _Mapping]]] = ...) -> None: ...

class VersionedHistoryEntry(_message.Message):
    __slots__ = ("model", "entry")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    entry: _model_pb2.HistoryEntry
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., entry: _Optional[_Union[_model_pb2.HistoryEntry, _Mapping]] = ...) -> None: ...

class GetLineageRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class GetLineageResponse(_message.Message):
    __slots__ = ("model", "code", "ancestors", "children", "datasets", "vendor")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    ANCESTORS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    code: str
    ancestors: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelReference]
    children: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelReference]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    vendor: str
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., code: _Optional[str] = ..., ancestors: _Optional[_Iterable[_Union[_model_pb2.ModelReference, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[_model_pb2.ModelReference, _Mapping]]] = ..., datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., vendor: _Optional[str] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class DownloadArtifactRequest(_message.Message):
    __slots__ = ("sha256",)
    SHA256_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    def __init__(self, sha256: _Optional[str] = ...) -> None: ...

class DownloadArtifactResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class DeployRequest(_message.Message):
    __slots__ = ("model", "version", "environment", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    environment: str
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., environment: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DeployResponse(_message.Message):
    __slots__ = ("deployment",)
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    deployment: _model_pb2.Deployment
    def __init__(self, deployment: _Optional[_Union[_model_pb2.Deployment, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model", "version", "environment", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    environment: str
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., environment: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("rolled_back", "restored")
    ROLLED_BACK_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    rolled_back: _model_pb2.Deployment
    restored: _model_pb2.Deployment
    def __init__(self, rolled_back: _Optional[_Union[_model_pb2.Deployment, _Mapping]] = ..., restored: _Optional[_Union[_model_pb2.Deployment, _Mapping]] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("model", "version", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class QuarantineResponse(_message.Message):
    __slots__ = ("model", "ended")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    ended: _containers.RepeatedCompositeFieldContainer[_model_pb2.Deployment]
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., ended: _Optional[_Iterable[_Union[_model_pb2.Deployment, _Mapping]]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("model", "version", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("model", "state")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    state: _model_pb2.ModelState
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., state: _Optional[_Union[_model_pb2.ModelState, str]] = ...) -> None: ...
