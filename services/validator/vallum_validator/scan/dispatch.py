"""Which format content has, and which inspector looks into it. The name of a file is never asked, only compared."""

from __future__ import annotations

from typing import Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan import secrets
from vallum_validator.scan.containers.zip_records import begin_of
from vallum_validator.scan.context import Context
from vallum_validator.scan.extensions import check_extension
from vallum_validator.scan.formats.hdf5 import MAGIC as HDF5_MAGIC
from vallum_validator.scan.known import FORMATS, PICKLE, TEXT, ZIP, Format
from vallum_validator.scan.pickled.streams import probe
from vallum_validator.scan.texts import Noted

_CONTAINERS: Final = frozenset({"zip", "tar", "compressed"})
"""Their members are searched for secrets, and not their own bytes."""
_USER_BLOCKS: Final = tuple(512 << power for power in range(24))
"""Where else than at the beginning readers of HDF5 look for it: behind a block of the user's own."""


def inspect(data: memoryview, context: Context) -> str:
    """Recognise content, inspect it, and report what could not be read.

    Returns:
        the name of the format, `unknown` where nothing matches.
    """
    budget = context.budget
    outside, budget.noted = budget.noted, Noted()
    try:
        return _inspect(data, context)
    finally:
        budget.noted = outside


def _inspect(data: memoryview, context: Context) -> str:
    if not len(data):
        context.report("file.empty", "there are no bytes")
        return "empty"
    name, found, read = "unknown", None, False
    try:
        found = next((entry for entry in FORMATS if entry.matches(data)), None) or _last_resort(data, context)
        if found is None:
            context.report("file.unrecognised", f"begins with {bytes(data[:16])!r}, which no known format does", 0)
            _look_for_zip(data, context)
            return name
        name = found.name
        if found is not PICKLE:
            _look_for_pickle(data, context)
        _look_for_others(data, found, context)
        context.budget.noted = Noted()
        name = found.inspect(data, context)
        read = True
    except Invalid as error:
        context.report("format.broken", f"{name}: {error.message}")
    except Exhausted as error:
        context.report("limit.reached", error.message)
    if found is TEXT:
        secrets.search([(0, data)], context)
    elif found is not None and found.name not in _CONTAINERS:
        if read and found.notes_arrays:
            secrets.search_around(data, context)
        else:
            secrets.search(secrets.ends(data), context)
    if context.depth:
        check_extension(context.member.rpartition("!/")[2], name, context)
    return name


def _last_resort(data: memoryview, context: Context) -> Format | None:
    """Pickles of protocols 0 and 1 have no magic; text has none either."""
    result = probe(data, context)
    if result.acts or result.complete:
        return PICKLE
    return TEXT if TEXT.matches(data) else None


def _look_for_pickle(data: memoryview, context: Context) -> None:
    result = probe(data, context)
    if result.malicious or result.acts:
        rule = "file.polyglot-pickle" if result.malicious else "file.polyglot"
        context.report(rule, f"to pickle.load this is a pickle that acts within {result.reached or len(data)} bytes", 0)


def _look_for_others(data: memoryview, found: Format, context: Context) -> None:
    """Report what other readers would take the same bytes for, and inspect it as that, too."""
    known = FORMATS if found is PICKLE or found is TEXT else (*FORMATS, TEXT)  # pickles of protocol 0 are text
    others = [entry for entry in known if entry.name not in (found.name, "pickle") and entry.matches(data)]
    if found.name not in ("zip", "tar"):
        _look_for_zip(data, context)
        if any(bytes(data[start : start + 8]) == HDF5_MAGIC for start in _USER_BLOCKS):
            context.report("file.polyglot", "behind a user block this is HDF5")
    for other in others:
        context.report("file.polyglot", f"this is {found.name} and {other.name} at once")
        _inspect_as(other, data, context)


def _look_for_zip(data: memoryview, context: Context) -> None:
    begin = begin_of(data)
    if begin is not None:
        context.report("file.polyglot", "this ends as a zip, and readers of zip begin at the end", begin)
        _inspect_as(ZIP, data[begin:], context)


def _inspect_as(other: Format, data: memoryview, context: Context) -> None:
    inside = context.enter(f"as {other.name}")
    try:
        other.inspect(data, inside)
    except Invalid as error:
        inside.report("format.broken", error.message)
