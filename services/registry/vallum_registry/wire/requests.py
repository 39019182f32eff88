"""Requests in: what a caller asks for, refused where it is incomplete."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from vallum.registry.v1 import model_pb2, registry_service_pb2
from vallum_common.bundle import BundleFile, Role
from vallum_common.errors import Invalid
from vallum_common.rpc.paging import DEFAULT_PAGE, MAX_PAGE
from vallum_registry.domain.models import Cause, ModelReference
from vallum_registry.domain.uploads import Chunk, UploadHeader

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ROLES: Final = {getattr(model_pb2, f"FILE_ROLE_{role.name}"): role for role in Role}


class _NamesVersion(Protocol):
    # The requests about one version share two fields and no type.
    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Which versions to list.

    Args:
        model: only its versions; empty for all.
        before: where the page begins; `None` for the newest.
        size: how many at most.
    """

    model: str
    before: int | None
    size: int


def checked_text(field: str, text: str) -> str:
    """A text that PostgreSQL can keep.

    Raises:
        Invalid: it holds a zero character.
    """
    if "\x00" in text:
        raise Invalid(f"{field} {text[:80]!r} must not hold a zero character", field=field)
    return text


def version_from(request: _NamesVersion) -> ModelReference:
    """The version a request names.

    Raises:
        Invalid: model or version is missing.
    """
    for field, text in (("model", request.model), ("version", request.version)):
        if not text:
            raise Invalid(f"{field} is missing; name a version as model and version", field=field)
    return model_or_version_from(request)


def model_or_version_from(request: _NamesVersion) -> ModelReference:
    """The model a request names, and the version where it names one.

    Raises:
        Invalid: the model is missing.
    """
    if not request.model:
        raise Invalid("model is missing", field="model")
    return ModelReference(checked_text("model", request.model), checked_text("version", request.version))


def cause_from(actor: str, reason: str) -> Cause:
    """Who asks, and why.

    Raises:
        Invalid: the reason is too long.
    """
    return Cause(actor, checked_text("reason", reason))


def checked_sha256(text: str) -> str:
    """A digest.

    Raises:
        Invalid: it is not 64 lower-case hex digits.
    """
    if not _SHA256.fullmatch(text):
        raise Invalid(f"sha256 {text[:80]!r} is not 64 lower-case hex digits", field="sha256")
    return text


def header_from(request: registry_service_pb2.SubmitModelRequest | None) -> UploadHeader:
    """The header with which an upload begins.

    Args:
        request: the first message; `None` where there was none.

    Raises:
        Invalid: it is no header, or a file has no role.
    """
    if request is None or request.WhichOneof("part") != "header":
        raise Invalid("an upload begins with a header: upload_id, manifest and files", field="header")
    header = request.header
    return UploadHeader(header.upload_id, header.manifest, tuple(map(_file, header.files)))


async def chunks_from(requests: AsyncIterator[registry_service_pb2.SubmitModelRequest]) -> AsyncIterator[Chunk]:
    """The chunks that follow the header, one by one as they are asked for.

    Raises:
        Invalid: a message is no chunk, or brings no byte.
    """
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise Invalid("after the header only chunks may follow", field="part")
        if not request.chunk.data:
            raise Invalid(f"the chunk at offset {request.chunk.offset} is empty", field="data")
        yield Chunk(request.chunk.offset, request.chunk.data)


def list_request_from(request: registry_service_pb2.ListModelsRequest) -> ListRequest:
    """Which versions to list.

    Raises:
        Invalid: the size is out of range, or the token is not one this service gave.
    """
    if not 0 <= request.page_size <= MAX_PAGE:
        raise Invalid(f"page_size must be 0 to {MAX_PAGE}, got {request.page_size}", field="page_size")
    before = _read_token(request.page_token) if request.page_token else None
    return ListRequest(checked_text("model", request.model), before, request.page_size or DEFAULT_PAGE)


def page_token(before: int | None) -> str:
    """The token of the page that begins before a place; empty after the last page."""
    return "" if before is None else base64.urlsafe_b64encode(before.to_bytes(8)).decode()


def _read_token(token: str) -> int:
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        content = b""
    if len(content) != 8 or content[0] & 0x80:
        raise Invalid(f"page_token {token[:80]!r} is not one this service gave", field="page_token")
    return int.from_bytes(content)


def _file(message: model_pb2.BundleFile) -> BundleFile:
    if message.role not in _ROLES:
        raise Invalid(f"the file {message.path[:255]!r} has no known role", field="files.role")
    return BundleFile(_ROLES[message.role], message.path, message.size_bytes, message.sha256)
