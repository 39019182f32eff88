"""Trace context: what comes in goes on, what is malformed begins anew, and tasks do not see each other's."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from vallum_common.trace import current_traceparent, enter_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
RECEIVED = f"00-{TRACE}-b7ad6b7169203331-01"
FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")


def in_a_task_of_its_own(received: str) -> tuple[str, str]:
    """The trace id and what would be handed on."""

    async def enter() -> tuple[str, str]:
        return enter_trace(received, random.Random(1)), current_traceparent()

    return asyncio.run(enter())


def test_received_trace_goes_on_under_a_new_span() -> None:
    trace, handed_on = in_a_task_of_its_own(RECEIVED)
    assert trace == TRACE
    assert handed_on.startswith(f"00-{TRACE}-")
    assert handed_on != RECEIVED
    assert FORM.fullmatch(handed_on)


@pytest.mark.parametrize(
    "received",
    [
        "",
        "nonsense",
        RECEIVED.upper(),
        RECEIVED[:-1],
        RECEIVED + "\n",
        "01" + RECEIVED[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)
def test_malformed_trace_begins_anew(received: str) -> None:
    """W3C Trace Context 3.2.2.3: ids of zeros are invalid, too."""
    trace, handed_on = in_a_task_of_its_own(received)
    assert trace not in (TRACE, "0" * 32)
    assert handed_on.startswith(f"00-{trace}-")
    assert FORM.fullmatch(handed_on)


async def test_tasks_do_not_see_each_others_trace() -> None:
    async def work(trace: str) -> str:
        enter_trace(f"00-{trace}-b7ad6b7169203331-01", random.Random(1))
        await asyncio.sleep(0)
        return current_traceparent()[3:35]

    traces = [f"{number:032x}" for number in range(1, 9)]
    assert await asyncio.gather(*map(work, traces)) == traces
    assert current_traceparent() == ""
