"""The pickles of a file: one after the other, with joblib's arrays between their opcodes, and nothing left over."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.domain import ScanVerdict
from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, Ledger
from vallum_validator.scan.pickled.arrays import WRAPPER, array_skipper
from vallum_validator.scan.pickled.judge import Judge, Reading
from vallum_validator.scan.pickled.machine import Machine
from vallum_validator.scan.pickled.opcodes import HANDLERS

_STREAM_COST: Final = 50
"""Opcodes charged for beginning a stream: a megabyte of `N.` is half a million of them."""
_MAX_NESTED: Final = 20
_HARMLESS_ALONE: Final = frozenset({"pickle.global-unlisted", "pickle.memo-bomb", "scan.finding-limit"})
"""Text may begin like the import of a module nobody knows (`cat`, `dog`); only a call of it makes it a pickle."""


def inspect_pickle(data: memoryview, context: Context) -> str:
    """Follow every pickle in the data and report what it would do.

    Returns:
        `joblib` where joblib wrote it, else `pickle`.
    """
    judge = Judge(context, allowlist.shipped())
    offset = 0
    try:
        while offset < len(data):
            context.budget.step(_STREAM_COST)
            offset = follow(data, offset, judge, context)
    except Invalid as error:
        rule = "pickle.trailing-bytes" if offset else "pickle.broken"
        context.report(rule, error.message, offset)
    return "joblib" if WRAPPER in judge.named else "pickle"


def follow(data: memoryview, offset: int, judge: Judge, context: Context, depth: int = 0) -> int:
    """Follow one pickle as joblib and pickle would both read it.

    Returns:
        the offset behind its STOP.

    Raises:
        Invalid: the pickle is broken.
        Exhausted: a limit was reached.
    """
    if depth > _MAX_NESTED:
        raise Exhausted(f"arrays of objects are nested deeper than {_MAX_NESTED} levels")

    def nested(start: int) -> int:
        return follow(data, start, judge, context, depth + 1)

    def alternative(machine: Machine, start: int) -> None:
        _report_alternative(machine, start, context)

    machine = Machine(data, observer=judge, budget=context.budget, after_build=array_skipper(nested, alternative))
    return machine.run(offset, HANDLERS)


@dataclass(frozen=True, slots=True)
class Probe:
    """What loading data as a pickle would do, for data that another format may explain.

    Args:
        complete: whether the unpickler would come to STOP.
        acts: whether anything unlisted would be called, changed or asked for, or anything denied named.
        malicious: whether that is certainly an attack.
        reached: offset behind STOP, or 0.
    """

    complete: bool
    acts: bool
    malicious: bool
    reached: int


def probe(data: memoryview, context: Context) -> Probe:
    """Follow the data as one plain pickle, reporting nothing."""
    ledger = Ledger(context.budget.limits.findings)
    judge = Judge(replace(context, ledger=ledger), allowlist.shipped(), reading=Reading.PLAIN)
    return _probe(Machine(data, observer=judge, budget=context.budget), 0, ledger)


def _probe(machine: Machine, start: int, ledger: Ledger) -> Probe:
    reached = 0
    with contextlib.suppress(Invalid):
        reached = machine.run(start, HANDLERS)
    return Probe(
        complete=reached > 0,
        acts=any(finding.rule not in _HARMLESS_ALONE for finding in ledger.findings),
        malicious=ledger.verdict is ScanVerdict.MALICIOUS,
        reached=reached,
    )


def _report_alternative(machine: Machine, start: int, context: Context) -> None:
    """Report where raw array bytes are a pickle to a loader that does not skip them."""
    if start >= len(machine.data) or HANDLERS[machine.data[start]] is None:
        return
    ledger = Ledger(context.budget.limits.findings)
    judge = Judge(replace(context, ledger=ledger), allowlist.shipped(), reading=Reading.PLAIN)
    result = _probe(machine.fork(judge), start, ledger)
    if result.malicious or result.acts:
        rule = "file.polyglot-pickle" if result.malicious else "file.polyglot"
        what = ledger.findings[0]
        context.report(rule, f"the array here is a pickle to pickle.load: {what.message}", what.offset)
