"""One list as it is stored: the names of a distribution with the versions that have them.

A name has the lowest grade that any listed version supports: a file does not say which version will load it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vallum_validator.scan.allowlist.wheels import REFUSED, Graded, Name
from vallum_validator.scan.pickled.values import Grade

_KEYS: Final = {Grade.CALLABLE: "callable", Grade.CLASS: "class", Grade.REFERENCE: "reference"}


def version_key(version: str) -> tuple[int, ...]:
    """Orders versions: 1.10 after 1.9."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def merge(distribution: str, package: str, graded: Mapping[str, Graded]) -> dict[str, Any]:
    """The list of a distribution.

    Args:
        distribution: its name.
        package: the root package it is imported as.
        graded: what each version's wheel supports, by version.
    """
    versions = sorted(graded, key=version_key)
    lowest: dict[Name, Grade] = {}
    present: defaultdict[Name, list[bool]] = defaultdict(lambda: [False] * len(versions))
    for index, version in enumerate(versions):
        for name, grade in graded[version].grades.items():
            lowest[name] = min(grade, lowest.get(name, grade))
            present[name][index] = True
    names: dict[str, set[Name]] = {
        key: {name for name, grade in lowest.items() if grade is wanted} for wanted, key in _KEYS.items()
    }
    stores = set.union(*(one.stores for one in graded.values()))
    kept = {name for name, grade in lowest.items() if grade is not REFUSED}
    harmful = set.union(*(one.harmful for one in graded.values())) - kept
    return {
        "distribution": distribution,
        "package": package,
        "versions": versions,
        **{key: _by_module(group, present, versions) for key, group in names.items()},
        "stores": _plain(stores & kept),
        "harmful": _plain(harmful),
        "hooks": " ".join(sorted(set.union(*(one.hooks for one in graded.values())))),
    }


def _by_module(
    names: set[Name], present: Mapping[Name, Sequence[bool]], versions: Sequence[str]
) -> dict[str, dict[str, str]]:
    grouped: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names):
        grouped[name[0]][_span(present[name], versions)].append(name[1])
    return {module: {span: " ".join(found) for span, found in spans.items()} for module, spans in grouped.items()}


def _span(present: Sequence[bool], versions: Sequence[str]) -> str:
    """`1.2.2+` for a name that the newest version still has, `1.0.2-1.3.2` for one that is gone."""
    first, last = present.index(True), len(present) - 1 - list(reversed(present)).index(True)
    return f"{versions[first]}+" if last == len(versions) - 1 else f"{versions[first]}-{versions[last]}"


def _plain(names: set[Name]) -> dict[str, str]:
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for module, name in sorted(names):
        grouped[module].append(name)
    return {module: " ".join(found) for module, found in grouped.items()}


def as_text(document: Mapping[str, Any]) -> str:
    """The list as it is written: a line for each module and span, so that a change is read where it is."""
    return json.dumps(document, indent=1, sort_keys=True) + "\n"
