"""The closed error list on the wire: `google.rpc.Status` with `ErrorInfo`, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from vallum_common.errors import BY_KIND, Kind, Unavailable, VallumError

_DOMAIN: Final = "vallum"
_CODES: Final = {
    Kind.INVALID: code_pb2.INVALID_ARGUMENT,
    Kind.NOT_FOUND: code_pb2.NOT_FOUND,
    Kind.CONFLICT: code_pb2.FAILED_PRECONDITION,
    Kind.DENIED: code_pb2.PERMISSION_DENIED,
    Kind.UNAVAILABLE: code_pb2.UNAVAILABLE,
    Kind.EXHAUSTED: code_pb2.RESOURCE_EXHAUSTED,
    Kind.INTERNAL: code_pb2.INTERNAL,
}
_KINDS_OF_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.INVALID,
    grpc.StatusCode.NOT_FOUND: Kind.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION: Kind.CONFLICT,
    grpc.StatusCode.PERMISSION_DENIED: Kind.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: Kind.DENIED,
    grpc.StatusCode.UNAVAILABLE: Kind.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Kind.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Kind.EXHAUSTED,
}
_TRANSPORT: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)


class Unauthenticated(VallumError):
    """The caller is nobody: no token, or one that does not verify. On the wire UNAUTHENTICATED, else like `Denied`."""

    kind = Kind.DENIED


def to_status(error: BaseException) -> grpc.Status:
    """The status a caller sees. What is not on the closed list becomes INTERNAL and keeps its message to itself."""
    if isinstance(error, VallumError):
        code = code_pb2.UNAUTHENTICATED if isinstance(error, Unauthenticated) else _CODES[error.kind]
        message, kind, details = error.message, error.kind, dict(error.details)
    elif isinstance(error, TimeoutError):
        code, message, kind, details = code_pb2.DEADLINE_EXCEEDED, "the deadline has passed", Kind.UNAVAILABLE, {}
    else:
        code, message, kind, details = code_pb2.INTERNAL, "internal error; the log has the details", Kind.INTERNAL, {}
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=kind.value, domain=_DOMAIN, metadata=details))
    return rpc_status.to_status(status_pb2.Status(code=code, message=message, details=[packed]))


def from_rpc_error(error: grpc.aio.AioRpcError) -> VallumError:
    """The error of the closed list that a peer raised."""
    status = rpc_status.from_call(error)
    kind, details = _KINDS_OF_CODES.get(error.code(), Kind.INTERNAL), {}
    for packed in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain == _DOMAIN and info.reason in Kind.__members__:
            kind, details = Kind(info.reason), dict(info.metadata)
    message = error.details() or error.code().name
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(message, **details)
    return BY_KIND.get(kind, VallumError)(message, **details)


@contextlib.contextmanager
def peer_errors(peer: str) -> Iterator[None]:
    """Around calls to a peer: its errors come out as ours.

    Args:
        peer: its name and address, told where it cannot be reached.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        # Without our details it was the transport that spoke, not the peer. grpc.aio says INTERNAL where a peer goes
        # away in the middle of a request stream (grpc/grpc#36066); our own INTERNAL always has details.
        if error.code() in _TRANSPORT and rpc_status.from_call(error) is None:
            raise Unavailable(f"{peer} does not answer: {error.details()}") from error
        raise from_rpc_error(error) from error
    except asyncio.CancelledError as error:
        # grpc.aio cancels its own call where a peer goes away while a request iterator is being sent (what
        # grpc/grpc#27240 set out to mend); nobody has asked this task to end.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable(f"{peer} does not answer: the call was cut off") from error
