"""What the tests of the client share: the command as it is typed, and services that answer what a test tells them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from vallum.compliance.v1 import compliance_service_pb2_grpc
from vallum.monitor.v1 import monitor_service_pb2_grpc
from vallum.registry.v1 import registry_service_pb2_grpc
from vallum.risk.v1 import risk_service_pb2_grpc
from vallum.validator.v1 import validator_service_pb2_grpc
from vallum_client.cli.context import session
from vallum_client.cli.main import run
from vallum_client.profile import SERVICES
from vallum_common.rpc.status import to_status


@dataclass(frozen=True)
class Typed:
    """What a command printed and how it ended."""

    code: int
    out: str
    error: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def vallum(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Typed]:
    """Types a command in an empty folder, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VALLUM_PROFILE", raising=False)
    monkeypatch.setattr(session.console, "width", 80)

    def type_(*words: str | Path) -> Typed:
        code = run([str(word) for word in words])
        return Typed(code, *capsys.readouterr())

    return type_


@dataclass
class FakePlatform:
    """All five services on one port.

    Args:
        answers: method to its answer, to several for a stream, or to the error it raises.
        requests: what was asked, in order.
    """

    profile: Path
    answers: dict[str, Message | list[Message] | Exception] = field(default_factory=dict)
    requests: list[Message] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Message | list[Message]:
        self.requests.append(request)
        self.tokens += [value for name, value in context.invocation_metadata() if name == "authorization"]
        answer = self.answers[method]
        if isinstance(answer, Exception):
            context.abort_with_status(to_status(answer))
        return answer

    def servicer(self, base: type) -> Any:
        """A servicer of this base whose every method gives what it was told."""

        def one(method: str) -> Callable[..., Any]:
            return lambda _, request, context: self._answer(method, request, context)

        def several(method: str) -> Callable[..., Any]:
            def stream(_: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
                answer = self._answer(method, request, context)
                assert isinstance(answer, list)
                yield from answer

            return stream

        streams = {"DownloadArtifact", "Replay", "WatchAlerts", "WatchSubmission"}
        methods = [name for name in vars(base) if not name.startswith("_")]
        return type("Fake", (base,), {name: (several if name in streams else one)(name) for name in methods})()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[FakePlatform]:
    """The fake services, with a profile in the folder where commands are typed."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    profile = write_profile(tmp_path / ".vallum", dict.fromkeys(SERVICES, f"127.0.0.1:{port}"))
    platform = FakePlatform(profile)
    for module, base, add in (
        (registry_service_pb2_grpc, "RegistryServiceServicer", "add_RegistryServiceServicer_to_server"),
        (validator_service_pb2_grpc, "ValidatorServiceServicer", "add_ValidatorServiceServicer_to_server"),
        (risk_service_pb2_grpc, "RiskServiceServicer", "add_RiskServiceServicer_to_server"),
        (compliance_service_pb2_grpc, "ComplianceServiceServicer", "add_ComplianceServiceServicer_to_server"),
        (compliance_service_pb2_grpc, "AuditServiceServicer", "add_AuditServiceServicer_to_server"),
        (monitor_service_pb2_grpc, "MonitorServiceServicer", "add_MonitorServiceServicer_to_server"),
    ):
        getattr(module, add)(platform.servicer(getattr(module, base)), server)
    server.start()
    yield platform
    server.stop(0)


def write_profile(folder: Path, addresses: dict[str, str], **identity: str) -> Path:
    """A profile and its token."""
    folder.mkdir(exist_ok=True)
    (folder / "client.token").write_text("a token\n")
    lines = [f'{name} = "{address}"' for name, address in addresses.items()]
    named = {"token_file": "client.token", **identity}
    lines += ["[identity]", *(f'{name} = "{value}"' for name, value in named.items())]
    path = folder / "client.toml"
    path.write_text("\n".join(["[services]", *lines]))
    return path
