"""Where everything listens, and what is said when a port is taken."""

from __future__ import annotations

import asyncio
import socket

import pytest

from vallum_common.errors import Conflict, Invalid
from vallum_local.ports import HOST, SERVICES, Ports, address, require_free


def test_defaults_are_those_users_were_promised() -> None:
    ports = Ports()

    assert [ports.service(name) for name in SERVICES] == [7401, 7402, 7403, 7404, 7405]
    assert SERVICES == ("registry", "validator", "risk", "compliance", "monitor")
    assert (ports.console, ports.kafka, ports.postgres, ports.kafka_controller) == (7480, 7492, 7493, 7494)


def test_one_number_moves_them_all() -> None:
    ports = Ports(9000)

    assert (ports.service("monitor"), ports.console, ports.kafka) == (9005, 9080, 9092)


@pytest.mark.parametrize("base", [0, 1023, 65442])
def test_base_that_leaves_the_range_is_refused(base: int) -> None:
    with pytest.raises(Invalid, match=str(base)):
        Ports(base)


async def test_taken_port_is_named_with_the_way_out() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(Conflict, match=rf"port {port} for Kafka .*--port-base"):
            await require_free([("Kafka", port)], timeout_s=0)


async def test_port_that_is_being_left_is_waited_for() -> None:
    server = socket.create_server((HOST, 0))
    port = server.getsockname()[1]
    asyncio.get_running_loop().call_later(0.15, server.close)

    await require_free([("Kafka", port)])

    socket.create_server((HOST, port)).close()


def test_addresses_are_those_of_this_machine_alone() -> None:
    assert address(7401) == "127.0.0.1:7401"
