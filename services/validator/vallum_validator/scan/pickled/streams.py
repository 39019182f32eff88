"""The pickles of a file: one after the other, with joblib's arrays between their opcodes, and nothing left over."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Final, NamedTuple

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, Ledger
from vallum_validator.scan.pickled.arrays import WRAPPER, array_skipper
from vallum_validator.scan.pickled.judge import Judge
from vallum_validator.scan.pickled.machine import Machine
from vallum_validator.scan.pickled.opcodes import HANDLERS
from vallum_validator.scan.pickled.readings import Reading
from vallum_validator.scan.texts import Noted

_STREAM_COST: Final = 50
"""Opcodes charged for beginning a stream: a megabyte of `N.` is half a million of them."""
_HARMLESS_ALONE: Final = frozenset({"pickle.global-unlisted", "pickle.memo-bomb", "scan.finding-limit"})
"""Text may begin like the import of a module nobody knows (`cat`, `dog`); only a call of it makes it a pickle."""


def inspect_pickle(data: memoryview, context: Context) -> str:
    """Follow every pickle in the data and report what it would do.

    Returns:
        `joblib` where joblib wrote it, else `pickle`.
    """
    judge = Judge(context, allowlist.shipped())
    machine = Machine(data, observer=judge, budget=context.budget)
    offset = 0
    try:
        while offset < len(data):
            context.budget.step(_STREAM_COST)
            machine = _joblib_machine(data, judge, context)
            offset = machine.run(offset, HANDLERS)
    except Invalid as error:
        rule = "pickle.trailing-bytes" if offset else "pickle.broken"
        context.report(rule, f"{_opcode_at(data, machine.position)}: {error.message}", machine.position)
    except Exhausted as error:
        context.report("limit.reached", f"{_opcode_at(data, machine.position)}: {error.message}", machine.position)
    return "joblib" if WRAPPER in judge.named else "pickle"


def follow(data: memoryview, offset: int, judge: Judge, context: Context) -> int:
    """Follow one pickle as joblib and pickle would both read it.

    Returns:
        the offset behind its STOP.

    Raises:
        Invalid: the pickle is broken.
        Exhausted: a limit was reached.
    """
    return _joblib_machine(data, judge, context).run(offset, HANDLERS)


def _joblib_machine(data: memoryview, judge: Judge, context: Context) -> Machine:
    def nested(start: int) -> int:
        # joblib reads an array of objects with a plain unpickler, to which a wrapper is an object like others.
        return Machine(data, observer=judge, budget=context.budget).run(start, HANDLERS)

    def alternative(machine: Machine, start: int) -> None:
        _report_alternative(machine, start, context)

    return Machine(data, observer=judge, budget=context.budget, after_build=array_skipper(nested, alternative))


def _opcode_at(data: memoryview, offset: int) -> str:
    from pickletools import opcodes  # only a broken pickle pays for it

    code = chr(data[offset]) if offset < len(data) else ""
    return next((opcode.name for opcode in opcodes if opcode.code == code), "no opcode")


class Probe(NamedTuple):
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
    reached, budget = 0, machine.budget
    noted, budget.noted = budget.noted, Noted()  # what this reading meets is not the file's own
    try:
        with contextlib.suppress(Invalid):
            reached = machine.run(start, HANDLERS)
    finally:
        budget.noted = noted
    return Probe(
        complete=reached > 0,
        acts=any(finding.rule not in _HARMLESS_ALONE for finding in ledger.findings),
        malicious=ledger.verdict is ScanVerdict.MALICIOUS,
        reached=reached,
    )


def _report_alternative(machine: Machine, start: int, context: Context) -> None:
    """Report where raw array bytes are a pickle to a loader that does not skip them."""
    # STOP ends that reading before it has done anything, so have other bytes that are no opcode.
    if start >= len(machine.data) or HANDLERS[machine.data[start]] is None:
        return
    context.budget.step(_STREAM_COST)
    ledger = Ledger(context.budget.limits.findings)
    judge = Judge(replace(context, ledger=ledger), allowlist.shipped(), reading=Reading.BEHIND_ARRAY)
    result = _probe(machine.fork(judge), start, ledger)
    if result.malicious or result.acts:
        rule = "file.polyglot-pickle" if result.malicious else "file.polyglot"
        what = ledger.findings[0]
        context.report(rule, f"the array here is a pickle to pickle.load: {what.message}", what.offset)
