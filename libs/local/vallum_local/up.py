"""`vallum up`: the platform in the foreground, from the first line of progress to the last child's end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from vallum_common.errors import Invalid, VallumError
from vallum_local.kafka import Topic
from vallum_local.platform import Platform, PlatformOptions
from vallum_local.services import ServiceCommand, python_module

STOPPED = 0
WRONG_USE = 3
FAILED = 4
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(line: str) -> None:
    """Print a line of progress at once, so that a pipe sees it too."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_up(
    options: PlatformOptions,
    topics: Sequence[Topic],
    *,
    service_command: ServiceCommand = python_module,
    report: Callable[[str], None] = say,
) -> int:
    """Run a platform until Ctrl-C, SIGTERM or the end of the terminal; must be called in the main thread.

    Args:
        options: see there.
        topics: what exists on Kafka before any service starts.
        service_command: how a service is started.
        report: is told, in one line each, what happens.

    Returns:
        Exit code: 0 it was stopped, 3 an option can never work, 4 it did not start or could not go on.
        The reason is on stderr, in one line.
    """
    # The client would write a line of its own for every connection it cannot make; ours says it once.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    platform = Platform(options, topics, environment=os.environ, service_command=service_command, report=report)
    try:
        asyncio.run(_until_stopped(platform, report))
    except VallumError as error:
        sys.stderr.write(f"vallum up: {error.message}\n")
        return WRONG_USE if isinstance(error, Invalid) else FAILED
    return STOPPED


async def _until_stopped(platform: Platform, report: Callable[[str], None]) -> None:
    work = asyncio.ensure_future(_start_and_watch(platform, report))
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        report("Vallum is stopped; everything is kept and found again at the next start.")


async def _start_and_watch(platform: Platform, report: Callable[[str], None]) -> None:
    async with platform:
        report(f"\nVallum is ready. In another shell:\n  export VALLUM_PROFILE={platform.profile}\nCtrl-C stops it.")
        try:
            await platform.watch()
        except asyncio.CancelledError:
            report("stopping")
            raise
