"""Which port everything listens on: a base, and a fixed offset for each part, so that one number moves them all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from vallum_common.errors import Conflict, Invalid

SERVICES = ("registry", "validator", "risk", "compliance", "monitor")
DEFAULT_PORT_BASE = 7400
HOST = "127.0.0.1"
FREE_TIMEOUT_S = 3.0
FREE_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Ports:
    """The ports of one platform; all on 127.0.0.1.

    Args:
        base: services listen on base+1 … base+5, in the order of `SERVICES`; 1024 to 65441.

    Raises:
        Invalid: a port would be reserved for root or beyond the last one.
    """

    base: int = DEFAULT_PORT_BASE

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 65535 - 94:
            raise Invalid(f"port base {self.base!r} should be between 1024 and {65535 - 94}")

    def service(self, name: str) -> int:
        """Port of one of the five services."""
        return self.base + 1 + SERVICES.index(name)

    @property
    def console(self) -> int:
        """Port kept free for the web console."""
        return self.base + 80

    @property
    def kafka(self) -> int:
        """Port on which Kafka answers its clients."""
        return self.base + 92

    @property
    def postgres(self) -> int:
        """Port of PostgreSQL."""
        return self.base + 93

    @property
    def kafka_controller(self) -> int:
        """Port of Kafka's own controller; nobody else speaks to it."""
        return self.base + 94


def address(port: int) -> str:
    """`127.0.0.1:port`, as services and profiles write it."""
    return f"{HOST}:{port}"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: connections of an earlier server that the kernel still remembers do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def require_free(ports: Iterable[tuple[str, int]], timeout_s: float = FREE_TIMEOUT_S) -> None:
    """Return when all ports are free; children of a platform that was just killed get a moment to end.

    Args:
        ports: who wants which port.
        timeout_s: seconds to wait for all of them together.

    Raises:
        Conflict: one is taken; the message names it and how to move.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    for name, port in ports:
        while not is_free(port):
            if asyncio.get_running_loop().time() > deadline:
                raise Conflict(
                    f"port {port} for {name} is used by another program; stop that, or move all ports with --port-base"
                )
            await asyncio.sleep(FREE_INTERVAL_S)
