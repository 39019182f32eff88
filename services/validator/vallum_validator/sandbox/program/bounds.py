"""Upper bounds of what trees can add up to, by veritas' search: run in a worker, for it is native code on numbers that
came out of a submitted file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array

_MEMORY_BYTES: Final = 256 * 1024**2


def bounds(arrays: Mapping[str, Array], steps: int) -> Mapping[str, Array]:
    """Bound the largest sum of leaves, one search after the other.

    Args:
        arrays: `starts` (searches + 1,) of each search among the nodes, `need` (searches,), and for each node `root`
            (whether a tree begins here), `left`, `right` (children, counted from the search's start, -1 for a leaf),
            `column`, `threshold` and `gain`.
        steps: of each search, which is counted in steps and not in seconds so that it ends the same way every time.

    Returns:
        `upper`: no choice of one leaf for each tree that fits together adds up to more, or -inf where all stay below
        `need`; `lower`: some choice adds up to this, -inf where none was found.
    """
    starts, need = arrays["starts"].tolist(), arrays["need"].tolist()
    upper, lower = np.empty(len(need)), np.empty(len(need))
    for place, (start, end) in enumerate(itertools.pairwise(starts)):
        part = {name: arrays[name][start:end].tolist() for name in _NODE}
        upper[place], lower[place] = _search(part, need[place], steps)
    return {"upper": upper, "lower": lower}


_NODE: Final = ("root", "left", "right", "column", "threshold", "gain")


def _search(nodes: Mapping[str, list[Any]], need: float, steps: int) -> tuple[float, float]:
    import veritas  # type: ignore[import-untyped]  # it ships no types

    config = veritas.Config(veritas.HeuristicType.MAX_OUTPUT)
    config.ignore_state_when_worse_than = need
    config.stop_when_atleast_bound_better_than = need
    config.stop_when_optimal = True
    config.max_memory = _MEMORY_BYTES
    search = config.get_search(_built(nodes), [])
    search.steps(steps)
    found = search.current_bounds()
    return float(found.best), float(found.atleast)


def _built(nodes: Mapping[str, list[Any]]) -> Any:
    import veritas

    ensemble = veritas.AddTree(1, veritas.AddTreeType.REGR)
    for root in np.flatnonzero(nodes["root"]).tolist():
        tree = ensemble.add_tree()
        stack = [(root, tree.root())]
        while stack:
            node, at = stack.pop()
            if nodes["left"][node] < 0:
                tree.set_leaf_value(at, 0, nodes["gain"][node])
                continue
            # Only the order of the thresholds of a column matters: which side an equal value takes is the caller's.
            tree.split(at, nodes["column"][node], nodes["threshold"][node])
            stack += [(nodes["left"][node], tree.left(at)), (nodes["right"][node], tree.right(at))]
    return ensemble
