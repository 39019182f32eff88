"""What several tests of this package share."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum_local.children import Command
from vallum_local.ports import Ports, is_free

STAND_IN = Path(__file__).with_name("stand_in_service.py")


@pytest.fixture
def ports() -> Ports:
    """Ports nobody listens on at this moment."""
    while True:
        # Below 32768, where Linux takes the ports of outgoing connections from.
        candidate = Ports(random.randrange(10000, 32000, 100))
        if all(is_free(candidate.base + offset) for offset in range(100)):
            return candidate


@pytest.fixture
def stand_in() -> Callable[[str], tuple[str, ...]]:
    """Starts something that answers health checks, in place of the five services."""
    return lambda name: (sys.executable, str(STAND_IN), name)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Waits, within a bound, for something that other processes bring about."""

    def wait(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.02)

    return wait


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Command]:
    """Makes a command that runs a piece of Python."""

    def make(code: str, name: str = "child", **settings: object) -> Command:
        return Command(name, (sys.executable, "-c", code), {}, tmp_path / f"{name}.log", **settings)

    return make


@pytest.fixture
def no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which `unshare` is not permitted."""
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(refusing.parent), prepend=os.pathsep)


@pytest.fixture
def run() -> Callable[..., object]:
    """Runs a coroutine in this thread, as children want it, without touching the tests' own loop."""

    def in_new_loop(coroutine: object) -> object:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(coroutine)

    return in_new_loop
