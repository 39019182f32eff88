"""The caller's side of Presidio: a reader of texts in a worker of its own, whose answers are checked like any other's.

It is an extra. Whether it is asked is policy (`data_privacy.presidio`), never what happens to be installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from vallum_common.errors import Invalid, Unavailable
from vallum_validator.checks.thresholds import PresidioRule, Thresholds
from vallum_validator.sandbox.frames import Array
from vallum_validator.sandbox.opened import Holding
from vallum_validator.sandbox.process import Worker, WorkerFailed
from vallum_validator.table import TextHit

_BATCH: Final = 500
_BATCH_CHARACTERS: Final = 200_000
"""What goes into a call: at some milliseconds for a text its deadline is far."""
_PIECE: Final = 10_000
"""Longer texts are read in pieces of so many characters."""
_OVERLAP: Final = 100
"""Characters of the piece before, so that what a cut would halve is seen whole."""
_CONTEXT_WORDS, _CONTEXT_CHARACTERS = 8, 40
_TOTAL_S: Final = 300.0
_MOST_NAMES: Final = 200
_NAME_CHARACTERS: Final = 100


def check_installed(thresholds: Thresholds) -> None:
    """Make sure that what policy asks for is here; where it asks for nothing, nothing is looked for.

    Raises:
        Invalid: Presidio or the model is not installed.
    """
    rule = thresholds.data_privacy.presidio
    if rule is None:
        return
    if not _is_installed("presidio_analyzer"):
        raise Invalid(
            "policy asks for Presidio (data_privacy.presidio), which is not installed; install "
            "vallum-validator[presidio] or take it out of the thresholds"
        )
    if rule.model and not (Path(rule.model).is_dir() if "/" in rule.model else _is_installed(rule.model)):
        raise Invalid(
            f"policy asks for the spaCy model {rule.model!r} (data_privacy.presidio.model), which is not installed; "
            "name an installed package or the path of a folder"
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a name in a package that is not there, or no name at all
        return False


@contextlib.contextmanager
def open_presidio(rule: PresidioRule, holding: Holding) -> Iterator[PresidioReader]:
    """Start a worker that reads by a rule; it ends with the context.

    Raises:
        Unavailable: this machine cannot hold it as policy wants, or the model's folder is gone.
        Invalid: it did not come up, or policy asks for what it does not find.
    """
    limits = replace(holding.limits, total_s=min(holding.limits.total_s, _TOTAL_S))
    readable: list[Path] = []
    if "/" in rule.model:
        try:
            readable = [Path(rule.model).resolve(strict=True)]
        except OSError as error:
            raise Unavailable(f"the spaCy model {rule.model!r} cannot be read ({error.strerror})") from error
        rule = rule.model_copy(update={"model": str(readable[0])})  # the worker is in another folder
    with Holding(limits, holding.allow_weaker_isolation).worker("Presidio", readable) as worker:
        yield PresidioReader(worker, rule)


class PresidioReader:
    """A `TextReader` whose recognisers run in a worker.

    Args:
        worker: fresh.
        rule: what is looked for.

    Raises:
        WorkerRefused: it knows no such entity or model.
        WorkerFailed: it broke off.
    """

    def __init__(self, worker: Worker, rule: PresidioRule) -> None:
        self._worker = worker
        self._entities = frozenset(rule.entities)
        self._least = rule.score
        self._recognisers: set[str] = set()
        question = {
            "command": "presidio",
            "entities": list(rule.entities),
            "score": rule.score,
            "model": rule.model,
        }
        told = worker.call(question, seconds=worker.limits.load_s).head.get("versions")
        if not isinstance(told, dict) or not all(_is_name(key) and _is_name(told[key]) for key in told):
            raise WorkerFailed("Presidio did not say which version it is")
        self.versions: Mapping[str, str] = told

    def read(self, texts: Sequence[str], context: Sequence[str]) -> list[TextHit]:
        """Look through texts, each by itself.

        Args:
            texts: any.
            context: words about all of them, e.g. of the name of their column.

        Raises:
            WorkerFailed: it broke off.
        """
        words = [word[:_CONTEXT_CHARACTERS] for word in context[:_CONTEXT_WORDS]]
        hits: list[TextHit] = []
        for batch in _batches(texts):
            pieces = np.empty(len(batch), dtype=object)
            pieces[:] = [piece for _, piece in batch]
            answer = self._worker.call({"command": "presidio_find", "context": words}, {"texts": pieces}).arrays
            hits += self._checked(answer, [text for text, _ in batch])
        return hits

    def _checked(self, answer: Mapping[str, Array], texts: Sequence[int]) -> list[TextHit]:
        parts = [answer.get(name, np.empty((0, 0))) for name in ("row", "entity", "recogniser", "score")]
        if len({part.shape for part in parts}) != 1 or parts[0].ndim != 1:
            raise WorkerFailed("Presidio sent something else than hits")
        found = [
            TextHit(texts[row], entity, recogniser, round(score, 3))
            for row, entity, recogniser, score in zip(*(part.tolist() for part in parts), strict=True)
            if type(row) is int and 0 <= row < len(texts) and entity in self._entities
            if _is_name(recogniser) and isinstance(score, float) and self._least <= score <= 1
        ]
        self._recognisers |= {hit.recogniser for hit in found}
        if len(found) != len(parts[0]) or len(self._recognisers) > _MOST_NAMES:
            raise WorkerFailed("Presidio sent hits that it was not asked for")
        return found


def _batches(texts: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Pieces of texts, each with the index of its text, as many as go into a call."""
    batch: list[tuple[int, str]] = []
    characters = 0
    for index, text in enumerate(texts):
        for start in range(0, len(text), _PIECE):
            piece = text[max(0, start - _OVERLAP) : start + _PIECE]
            if len(batch) == _BATCH or characters + len(piece) > _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
            batch.append((index, piece))
            characters += len(piece)
    if batch:
        yield batch


def _is_name(text: object) -> bool:
    return isinstance(text, str) and text.isprintable() and len(text) <= _NAME_CHARACTERS
