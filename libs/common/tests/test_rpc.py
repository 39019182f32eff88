"""The edge around calls of all four kinds: nobody unnamed gets in, every error keeps its kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from vallum_common.errors import BY_KIND, Conflict, Denied, Invalid, Kind, Unavailable, VallumError
from vallum_common.rpc.client import connect
from vallum_common.rpc.identity import AccessRules, TokenVerifier, current_caller
from vallum_common.rpc.server import EdgeInterceptor, Server
from vallum_common.rpc.status import Unauthenticated, peer_errors
from vallum_common.testing import FakeClock

from .test_identity import OURS, jwk, token

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SERVICE = "vallum.test.v1.Kinds"


class OpenRules(AccessRules):
    """Rules for methods that no contract describes: `Forbidden` needs a role nobody has."""

    def roles_for(self, method: str) -> frozenset[str]:
        return frozenset() if method.endswith("Forbidden") else frozenset({"platform"})


async def answer(request: bytes) -> bytes:
    """Does what the request says: raise an error of a kind, hang, fail, or say who called."""
    command = request.decode()
    if command in Kind.__members__ and Kind(command) in BY_KIND:
        raise BY_KIND[Kind(command)](f"a {command} error", field="model.tier")
    if command == "hang":
        await asyncio.sleep(60)
    if command == "bug":
        raise ZeroDivisionError("secret=hunter2")
    return current_caller().subject.encode()


async def unary_unary(request: bytes, context: Any) -> bytes:
    return await answer(request)


async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield await answer(request)


async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return [await answer(request) async for request in requests][-1]


async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield await answer(request)


HANDLERS = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(globals()[kind]) for kind in KINDS}
HANDLERS["Forbidden"] = grpc.unary_unary_rpc_method_handler(unary_unary)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(OURS, "ours", "EdDSA")]}))
    interceptor = EdgeInterceptor(TokenVerifier(str(path), clock=FakeClock()), OpenRules())
    generic = grpc.method_handlers_generic_handler(SERVICE, HANDLERS)
    services: dict[str, Callable[[grpc.aio.Server], None]] = {
        SERVICE: lambda server: server.add_generic_rpc_handlers((generic,))
    }
    server = Server("127.0.0.1:0", interceptor, services, reflect=False)
    await server.start()
    await server.serving(healthy=True)
    yield f"127.0.0.1:{server.port}"
    await server.stop(0)


async def call(address: str, method: str, request: bytes, *, bearer: str, timeout: float | None = None) -> bytes:
    kind = method if method in KINDS else "unary_unary"
    async with connect(address, lambda: bearer) as channel:
        multicallable = getattr(channel, kind)(f"/{SERVICE}/{method}")

        async def requests() -> AsyncIterator[bytes]:
            yield request

        sent = requests() if kind.startswith("stream") else request
        with peer_errors("the test server"):
            if kind.endswith("_stream"):
                return [response async for response in multicallable(sent, timeout=timeout)][-1]
            return await multicallable(sent, timeout=timeout)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_named_caller_is_answered(address: str, kind: str) -> None:
    assert await call(address, kind, b"who", bearer=token(FakeClock())) == b"ci"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bearer", ["", "nonsense"])
async def test_the_unnamed_are_not(address: str, kind: str, bearer: str) -> None:
    with pytest.raises(Unauthenticated):
        await call(address, kind, b"who", bearer=bearer)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_role_that_is_missing_is_denied(address: str, kind: str) -> None:
    with pytest.raises(Denied, match="may not call"):
        await call(address, kind, b"who", bearer=token(FakeClock(), roles=["auditor"]))


async def test_a_method_without_a_rule_is_denied(address: str) -> None:
    with pytest.raises(Denied):
        await call(address, "Forbidden", b"who", bearer=token(FakeClock()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", list(BY_KIND))
async def test_errors_cross_the_wire_with_kind_message_and_details(address: str, kind: str, error: Kind) -> None:
    with pytest.raises(BY_KIND[error], match=f"a {error} error") as caught:
        await call(address, kind, error.value.encode(), bearer=token(FakeClock()))
    assert caught.value.details == {"field": "model.tier"}


@pytest.mark.parametrize("kind", KINDS)
async def test_our_bugs_are_not_told_to_callers(address: str, kind: str) -> None:
    with pytest.raises(VallumError, match="internal error") as caught:
        await call(address, kind, b"bug", bearer=token(FakeClock()))
    assert caught.value.kind is Kind.INTERNAL
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deadline_ends_the_call(address: str, kind: str) -> None:
    with pytest.raises(Unavailable):
        await call(address, kind, b"hang", bearer=token(FakeClock()), timeout=0.2)


async def test_health_needs_no_name_and_nothing_else_is_told(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        found = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert found.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_address_that_is_taken_is_named(address: str, tmp_path: Path) -> None:
    interceptor = EdgeInterceptor(TokenVerifier(str(tmp_path / "jwks.json"), clock=FakeClock()), OpenRules())
    with pytest.raises(Conflict, match=f"'{address}' is in use"):
        Server(address, interceptor, {}, reflect=False)


async def test_who_is_away_is_named() -> None:
    async with connect("127.0.0.1:1", lambda: "") as channel:
        with pytest.raises(Unavailable, match="the registry does not answer"), peer_errors("the registry"):
            await channel.unary_unary("/x/y")(b"")


async def test_an_answer_from_elsewhere_keeps_its_kind_without_details() -> None:
    async def abort(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not ours")

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("x", {"y": grpc.unary_unary_rpc_method_handler(abort)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(Invalid, match="not ours"), peer_errors("it"):
            await channel.unary_unary("/x/y")(b"")
    await server.stop(0)


def test_peer_that_goes_away_in_the_middle_of_a_request_stream_is_unavailable() -> None:
    """https://github.com/grpc/grpc/issues/36066: grpc.aio calls it INTERNAL."""
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), details="Internal error from Core"
    )
    with (
        pytest.raises(Unavailable, match="registry does not answer: Internal error from Core"),
        peer_errors("registry"),
    ):
        raise broken


async def test_call_that_is_cut_off_is_unavailable(address: str) -> None:
    """grpc.aio cancels a call of its own accord where the peer goes away while a request iterator is being sent."""

    async def requests() -> AsyncIterator[bytes]:
        yield b""
        raise grpc.aio.InternalError("the write failed")

    async with connect(address, lambda: token(FakeClock())) as channel:
        with pytest.raises(Unavailable, match="not answer: the call was cut off"), peer_errors("registry"):
            await channel.stream_unary(f"/{SERVICE}/stream_unary")(requests())


async def test_task_that_is_cancelled_in_a_call_stays_cancelled() -> None:
    begun = asyncio.Event()

    async def call_forever() -> None:
        async with connect("127.0.0.1:1", lambda: "") as channel:
            with peer_errors("registry"):
                call = channel.unary_unary("/x/y")(b"", wait_for_ready=True)
                begun.set()
                await call

    task = asyncio.create_task(call_forever())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
