"""gRPC servers whose every call is named, bounded and logged."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vallum_common.errors import Conflict, VallumError
from vallum_common.rpc import MAX_MESSAGE_BYTES
from vallum_common.rpc.identity import AccessRules, TokenVerifier, set_caller
from vallum_common.rpc.status import Unauthenticated, to_status
from vallum_common.trace import enter_trace

MAX_CONCURRENT_CALLS: Final = 500
UNARY_DEADLINE_S: Final = 30.0
"""Imposed where the caller sets none."""
STREAM_DEADLINE_S: Final = 24 * 3600.0

_OPEN_TO_ALL: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
"""Health tells nothing but up or down; reflection is only served where the operator switches it on."""

log = structlog.get_logger(__name__)


class EdgeInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc.aio ships no types
    """Around every call of all four kinds: identity, rule, deadline, trace, log line, and errors as status.

    Args:
        verifier: knows tokens.
        rules: know who may call what.
    """

    def __init__(self, verifier: TokenVerifier, rules: AccessRules) -> None:
        self._verifier = verifier
        self._rules = rules

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]], details: Any
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_OPEN_TO_ALL):
            return handler
        return self._wrapped(handler, details.method, dict(details.invocation_metadata or ()))

    def _wrapped(self, handler: Any, method: str, metadata: dict[str, Any]) -> grpc.RpcMethodHandler:
        limit = STREAM_DEADLINE_S if handler.request_streaming or handler.response_streaming else UNARY_DEADLINE_S

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            async with self._edge(method, metadata, context, limit):
                behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
                return await behaviour(request, context)

        async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with self._edge(method, metadata, context, limit):
                behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
                async for response in behaviour(request, context):
                    yield response

        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            if handler.response_streaming:
                return grpc.stream_stream_rpc_method_handler(stream, **codec)
            return grpc.stream_unary_rpc_method_handler(answer, **codec)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_unary_rpc_method_handler(answer, **codec)

    @contextlib.asynccontextmanager
    async def _edge(
        self, method: str, metadata: dict[str, Any], context: grpc.aio.ServicerContext, limit: float
    ) -> AsyncIterator[None]:
        structlog.contextvars.bind_contextvars(
            method=method, trace_id=enter_trace(str(metadata.get("traceparent", "")), random.SystemRandom())
        )
        remaining = context.time_remaining()
        try:
            caller = await self._verifier.verify(_bearer(metadata))
            self._rules.check(method, caller)
            set_caller(caller)
            structlog.contextvars.bind_contextvars(caller=caller.subject)
            async with asyncio.timeout(limit if remaining is None else min(limit, remaining)):
                yield
            log.info("call_answered")
        except VallumError as error:
            log.info("call_refused", kind=error.kind, reason=error.message)
            await context.abort_with_status(to_status(error))
        except TimeoutError as error:
            log.warning("call_timed_out")
            await context.abort_with_status(to_status(error))
        except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:  # the edge: the caller learns nothing of our bugs, the log everything
            log.exception("call_failed")
            await context.abort_with_status(to_status(error))


def _bearer(metadata: dict[str, Any]) -> str:
    scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("no bearer token; send the metadata 'authorization: Bearer <token>'")
    return token.strip()


class Server:
    """A gRPC server with health and, where switched on, reflection.

    Args:
        address: `host:port`; port 0 picks a free one.
        interceptor: the edge.
        services: full service name to a function that adds its servicer to the server.
        reflect: whether to serve reflection.

    Raises:
        Conflict: the address is taken.
    """

    def __init__(
        self,
        address: str,
        interceptor: EdgeInterceptor,
        services: dict[str, Callable[[grpc.aio.Server], None]],
        *,
        reflect: bool,
    ) -> None:
        self._server = grpc.aio.server(
            interceptors=[interceptor],
            maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a second server
            ],
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for add in services.values():
            add(self._server)
        self._names = ("", *services)
        if reflect:
            names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Conflict(f"the gRPC address {address!r} is in use, or is not one of this machine") from error

    async def start(self) -> None:
        """Begin to answer; health says NOT_SERVING until `serving`."""
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def serving(self, *, healthy: bool) -> None:
        """Tell load balancers and `vallum up` whether to send calls here."""
        status = health_pb2.HealthCheckResponse.SERVING if healthy else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Refuse new calls, let running ones end within the grace, then cut them off."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
