"""Channels to other services: a token on every call, a deadline on every unary call, the trace handed on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc

from vallum_common.errors import Invalid
from vallum_common.rpc import MAX_MESSAGE_BYTES
from vallum_common.trace import current_traceparent

CALL_TIMEOUT_S: Final = 30.0


def token_file(path: Path) -> Callable[[], str]:
    """A token source that reads the file at each call, so that a renewed token is used at once."""

    def read() -> str:
        try:
            return path.read_text().strip()
        except OSError as error:
            raise Invalid(f"the token file {str(path)!r} cannot be read: {error.strerror}") from error

    return read


def connect(address: str, token: Callable[[], str], *, ca_file: Path | None = None) -> grpc.aio.Channel:
    """Open a channel; nothing is sent yet.

    Args:
        address: `host:port`.
        token: gives the bearer token of each call.
        ca_file: PEM of the authority that signed the server's certificate; `None` for a plain connection.
    """
    interceptor = _CallerInterceptor(token)
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    if ca_file is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptor.all_kinds())
    credentials = grpc.ssl_channel_credentials(ca_file.read_bytes())
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptor.all_kinds())


class _CallerInterceptor:
    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def all_kinds(self) -> list[grpc.aio.ClientInterceptor]:
        """One interceptor object per kind of call: grpc.aio files an object under its first matching class only."""
        outer = self

        class UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                return await continuation(outer._named(details, CALL_TIMEOUT_S), request)

        class UnaryStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
                return await continuation(outer._named(details), request)

        class StreamUnary(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
            async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
                return await continuation(outer._named(details), requests)

        class StreamStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]
            async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
                return await continuation(outer._named(details), requests)

        return [UnaryUnary(), UnaryStream(), StreamUnary(), StreamStream()]

    def _named(self, details: Any, timeout: float | None = None) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add("authorization", f"Bearer {self._token()}")
        if traceparent := current_traceparent():
            metadata.add("traceparent", traceparent)
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=timeout if details.timeout is None else details.timeout,
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )
