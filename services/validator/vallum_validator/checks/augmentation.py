"""Training a model that is easily attacked once more, on the given members and on what attacks make of them.

Each candidate is only trained here; the check attacks it as it attacked the submitted model and tells what came of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum_common.bundle import FeatureType
from vallum_common.errors import VallumError
from vallum_validator.checks.feasible import attack_feasible
from vallum_validator.checks.hardening import stricter
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.references import teach
from vallum_validator.checks.search import Pool, Reach
from vallum_validator.checks.space import Matrix
from vallum_validator.checks.truth import Labelled, labelled
from vallum_validator.table import Parameter, Predictor, Subject

_MOST_ROWS: Final = 2_000
"""Members to learn from; a bundle holds a sample of them anyway."""
_ATTACKED: Final = 300
"""Members to make adversarial examples of, each as many predictions as the policy gives a row."""
_COPIES: Final = 2
"""Moved copies of each member beside its adversarial example."""


def candidates(subject: Subject, reach: Reach, rng: np.random.Generator) -> Iterator[tuple[str, Predictor]]:
    """Train one model after the other that might withstand more; yields what was done and the model, which answers
    until the next one is asked for.

    Args:
        subject: the model as submitted; without a trainer or members there are no candidates.
        reach: what an attacker may do.
        rng: seeds, moves and attacks.
    """
    if subject.training is None or subject.members is None or subject.predictor is None:
        return
    with contextlib.suppress(VallumError), subject.training() as trainer:
        classes = subject.predictor.classes
        members = labelled(subject, "members")
        members = members.take(rng.permutation(len(members))[:_MOST_ROWS])
        widened = _widened(subject.predictor, reach, members, rng)
        held_back: list[dict[str, Parameter]] = stricter(trainer.parameters)[:1]
        plans: list[tuple[str, Labelled, Mapping[str, Parameter]]] = [
            ("train with moved and adversarial copies of the rows", widened, {}),
            *((f"train with {_spelled(change)}", members, change) for change in held_back),
            *((f"train with such copies and {_spelled(change)}", widened, change) for change in held_back),
        ]
        for measure, rows, change in plans:
            teach(trainer, classes, rows, seed=int(rng.integers(2**31)), change=change)
            yield measure, trainer


def _spelled(change: Mapping[str, Parameter]) -> str:
    return ", ".join(f"{name}={value}" for name, value in change.items())


def _widened(predictor: Predictor, reach: Reach, members: Labelled, rng: np.random.Generator) -> Labelled:
    """The members, copies of them moved as far as policy lets an attacker, and adversarial examples of some, all with
    their true labels."""
    matrix = reach.space.encode(members.table)
    low, high = reach.space.box(matrix)
    # A value that is missing has no bounds, and nothing can be drawn between them: it stays missing.
    free = low < high
    moved = [
        np.where(free, rng.uniform(np.where(free, low, 0), np.where(free, high, 0)), matrix) for _ in range(_COPIES)
    ]
    right = np.flatnonzero(members.correct)[:_ATTACKED]
    found = attack_feasible(
        Oracle(predictor, reach.space, members),
        reach,
        matrix[right],
        members.predicted[right],
        pool=Pool(matrix, members.predicted),
        rng=rng,
    )
    places = np.concatenate([np.tile(np.arange(len(members)), 1 + _COPIES), right])
    return _with_rows(members, reach, np.concatenate([matrix, *moved, found]), places)


def _with_rows(members: Labelled, reach: Reach, matrix: Matrix, places: NDArray[np.intp]) -> Labelled:
    whole = [axis.kind is FeatureType.INTEGER for axis in reach.space.axes]
    rows = members.take(places)
    return replace(rows, table=reach.space.decode(np.where(whole, np.round(matrix), matrix)), probabilities=None)
