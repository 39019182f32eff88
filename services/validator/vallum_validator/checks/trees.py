"""What can be proved about an ensemble of trees from its structure: no change within a radius flips the answer.

The bound is the simplest sound one: every tree may answer with its worst leaf that the ball touches, independently of
the others. It needs the trees themselves, as plain numbers; who reads them out of an artefact does so in the sandbox.

Source: Chen, Zhang, Si, Li, Boning and Hsieh 2019, "Robustness verification of tree-based models", level 1, for the
maximum norm; the leaf distances are sorted once, so that the largest certified radius is found without a search over
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum_validator.checks.intervals import Floats


@dataclass(frozen=True, slots=True)
class TreeEnsemble:
    """Leaves of all trees, as boxes.

    Args:
        tree: which tree each leaf belongs to, ascending, shape (leaves,).
        low: lower end of each leaf's box, exclusive, shape (leaves, features); -inf where open.
        high: upper end, inclusive.
        value: what each leaf adds to the score of each class, shape (leaves, classes); the largest total is the answer.
        base: score of each class before any tree, shape (classes,).
    """

    tree: NDArray[np.intp]
    low: Floats
    high: Floats
    value: Floats
    base: Floats


def certified_radius(ensemble: TreeEnsemble, rows: Floats, own: NDArray[np.intp]) -> Floats:
    """Return for each row a radius in the maximum norm within which the ensemble certainly gives its own class.

    Args:
        ensemble: the trees.
        rows: shape (rows, features), finite.
        own: the class each row gets.

    Returns:
        shape (rows,); 0 where nothing is certified, infinite where no leaf anywhere changes the answer.
    """
    starts = np.flatnonzero(np.diff(ensemble.tree, prepend=-1))
    return np.array([_radius(ensemble, starts, row, int(own[place])) for place, row in enumerate(rows)])


def _radius(ensemble: TreeEnsemble, starts: NDArray[np.intp], row: Floats, own: int) -> float:
    away = np.maximum(ensemble.low - row, row - ensemble.high).max(axis=1)
    distance = np.maximum(away, 0.0)
    order = np.argsort(distance, kind="stable")
    gain = np.delete(ensemble.value - ensemble.value[:, [own]], own, axis=1)
    lead = np.delete(ensemble.base - ensemble.base[own], own)
    # As the ball grows, each tree's worst reachable leaf only gets worse: walk through the leaves by distance and keep
    # a running worst per tree; the certificate ends where the total reaches zero.
    rank = np.empty(len(order), dtype=np.intp)
    rank[order] = np.arange(len(order))
    steps = np.zeros((len(order), gain.shape[1]))
    ends = [*starts[1:], len(order)]
    for start, end in zip(starts, ends, strict=True):
        within = start + np.argsort(rank[start:end], kind="stable")
        worst = np.maximum.accumulate(gain[within], axis=0)
        steps[rank[within]] = np.diff(worst, axis=0, prepend=0.0)
    total = lead + np.cumsum(steps, axis=0)
    # Leaves at the same distance are reached together; the sum counts only once all of them are in.
    reached = distance[order]
    last = np.append(reached[1:] != reached[:-1], True)
    crossed = np.flatnonzero(last & (total >= 0).any(axis=1))
    return float(reached[crossed[0]]) if len(crossed) else float("inf")
