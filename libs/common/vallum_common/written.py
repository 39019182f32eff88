"""What is wrong with a file that people write, a manifest or a policy: one line with the place and what is right."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

_MAX_VALUE: Final = 80
_SHORT: Final = "string_too_short"


def mistake(error: ValidationError, shape: type[BaseModel], *, tell_values: bool = True) -> str:
    """The first mistake, and how many more there are.

    Args:
        error: of validating what was written.
        shape: that it was held against.
        tell_values: whether the line may repeat what was written; not where a secret could stand in the wrong place.
    """
    problems = error.errors(include_url=False)
    # An unknown key explains a "missing" one beside it (a typing mistake makes both), so it is told first.
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    steps = [str(step) for step in first["loc"] if not str(step).startswith("function-")]
    place = ".".join(steps) + ": " if steps else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{place}unknown key{_hint(shape, first['loc'])}{more}"
    if first["type"] == "missing":
        return f"{place}is missing{more}"
    return f"{place}{_said(first, tell_values=tell_values)}{more}"


def _said(problem: Any, *, tell_values: bool) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == _SHORT:
        message = message.replace("String should have", "must have")
    value = f", got {str(problem['input'])[:_MAX_VALUE]!r}" if tell_values and problem["type"] != "value_error" else ""
    unquoted = problem["type"] == "string_type" and isinstance(problem["input"], int | float)
    return f"{message[0].lower()}{message[1:]}{value}{'; write it in quotes' if unquoted else ''}"


def _hint(shape: type[BaseModel], location: tuple[int | str, ...]) -> str:
    known = _known_keys(shape, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"


def _known_keys(shape: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand in a place; steps that are no field lead to an element of a list or mapping."""
    shapes = [shape]
    for step in location:
        fields = [one.model_fields[step] for one in shapes if isinstance(step, str) and step in one.model_fields]
        shapes = [inner for field in fields for inner in _shapes(field.annotation)] or shapes
    return list(dict.fromkeys(key for one in shapes for key in one.model_fields))


def _shapes(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation: of `tuple[Feature, ...]` and `Feature | None`, `Feature`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _shapes(part)
