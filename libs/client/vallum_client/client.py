"""The Python client: one connection to each of the five services."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Final

import grpc

from vallum.compliance.v1 import compliance_service_pb2_grpc
from vallum.monitor.v1 import monitor_service_pb2_grpc
from vallum.registry.v1 import registry_service_pb2_grpc
from vallum.risk.v1 import risk_service_pb2_grpc
from vallum.validator.v1 import validator_service_pb2_grpc
from vallum_client.profile import Profile
from vallum_common.rpc.client import connect, token_file
from vallum_common.rpc.status import peer_errors

WAIT_S: Final = 1800.0
"""How long to wait for a verdict unless told otherwise."""


class Client:
    """Stubs for all services, with the token and deadlines of the profile on every call.

    Args:
        profile: where the platform is, and who asks.

    Use it as `async with Client(profile) as client:`; calls go inside `with client.errors("registry"):`, so that a
    service's errors come out as those of `vallum_common.errors`.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        token = token_file(profile.token_file)
        self._channels: dict[str, grpc.aio.Channel] = {
            name: connect(address, token, ca_file=profile.ca_file) for name, address in profile.addresses.items()
        }
        self.registry = registry_service_pb2_grpc.RegistryServiceStub(self._channels["registry"])
        self.validator = validator_service_pb2_grpc.ValidatorServiceStub(self._channels["validator"])
        self.risk = risk_service_pb2_grpc.RiskServiceStub(self._channels["risk"])
        self.compliance = compliance_service_pb2_grpc.ComplianceServiceStub(self._channels["compliance"])
        self.audit = compliance_service_pb2_grpc.AuditServiceStub(self._channels["compliance"])
        self.monitor = monitor_service_pb2_grpc.MonitorServiceStub(self._channels["monitor"])

    @contextlib.contextmanager
    def errors(self, service: str) -> Iterator[None]:
        """Around calls to a service.

        Raises:
            VallumError: of the kind the service raised; `Unavailable` names the address that does not answer.
        """
        with peer_errors(f"{service} at {self.profile.addresses[service]}"):
            yield

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()
