"""Distances to another answer and what is proved about them, held against models whose truth is a formula."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.boundary import both_sides
from vallum_validator.checks.descent import descend
from vallum_validator.checks.nearest import nearest_l2, nearest_linf
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.plain import Means, Nearest, Origins, Plain
from vallum_validator.checks.search import Pool
from vallum_validator.checks.smoothing import certify
from vallum_validator.checks.space import build_space
from vallum_validator.checks.testing import subject_of
from vallum_validator.checks.truth import labelled
from vallum_validator.table import Table

THRESHOLDS = load_thresholds(Path(__file__).parents[3] / "policies" / "thresholds.yaml")
NAMES = [f"f{place}" for place in range(6)]
FEATURES: dict[str, dict[str, Any]] = {name: {"type": "number", "min": -3, "max": 3} for name in NAMES}
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, 1.0, -0.25])


def _matrix(table: Table) -> np.ndarray:
    return np.column_stack([table.columns[name] for name in NAMES])


def _linear(table: Table) -> np.ndarray:
    positive = 1 / (1 + np.exp(-_matrix(table) @ WEIGHTS))
    return np.column_stack([1 - positive, positive])


def _labels(table: Table) -> np.ndarray:
    return (_matrix(table) @ WEIGHTS > 0).astype(int)


def _plain(answer: Callable[[Table], Any], rows: int = 200) -> tuple[Plain, np.ndarray, np.ndarray]:
    matrix = np.random.default_rng(1).uniform(-2, 2, size=(rows, len(NAMES)))
    table = Table({name: matrix[:, place].copy() for place, name in enumerate(NAMES)})
    label = np.array([str(each) for each in np.asarray(_labels(table))], dtype=object)
    classes = ("0", "1") if np.asarray(answer(table)).ndim == 2 else ()
    table = table.with_columns({"label": label})
    subject = subject_of(answer, FEATURES, thresholds=THRESHOLDS, classes=classes, evaluation=table)
    assert subject.predictor is not None
    known = labelled(subject)
    oracle = Oracle(subject.predictor, build_space(subject.predictor.features, [table], 0.05), known)
    one = np.ones(len(NAMES))
    return Plain(oracle, one, -3 * one, 3 * one), matrix, known.predicted


@pytest.mark.parametrize("answer", [_linear, _labels])
@pytest.mark.parametrize(("search", "dual"), [(nearest_linf, 1), (nearest_l2, 2)])
def test_the_distance_to_a_plane_is_found_within_a_tenth_and_never_undercut(
    search: Callable[..., Any], dual: int, answer: Callable[[Table], Any]
) -> None:
    plain, matrix, own = _plain(answer)
    rows = matrix[:40]
    found = search(plain, Origins(rows, own[:40]), Means(Pool(matrix, own), 1500, np.random.default_rng(2)))
    exact = np.abs(rows @ WEIGHTS) / np.linalg.norm(WEIGHTS, ord=dual)
    assert (found.distances >= exact - 1e-9).all()
    assert np.median(found.distances / exact) < 1.1
    assert plain.ask(found.points[:, None], own[:40]).flipped.all()


CUTS = np.linspace(-1.5, 1.5, 4)
"""Where each feature has thresholds."""


def _votes(table: Table) -> np.ndarray:
    """A forest of one-split trees, one for each feature and cut: most of them must be passed."""
    share = (_matrix(table)[:, :, None] > CUTS).mean(axis=(1, 2))
    return np.column_stack([1 - share, share])


def _to_pass(rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The exact distance to the other answer of `_votes`: as far as the last of the cuts that must be passed."""
    away = CUTS - rows[:, :, None]
    distances = []
    for each, answer in zip(away.reshape(len(rows), -1), own, strict=True):
        beyond = np.sort(each[each >= 0] if answer == 0 else -each[each < 0])
        missing = (len(each) // 2 + 1) - (each < 0).sum() if answer == 0 else (each < 0).sum() - len(each) // 2
        distances.append(beyond[missing - 1])
    return np.array(distances)


def test_descent_finds_the_least_box_in_which_a_forest_answers_otherwise() -> None:
    plain, matrix, own = _plain(_votes)
    rows = Origins(matrix[:60], own[:60])
    found = nearest_linf(plain, rows, Means(Pool(matrix, own), 4000, np.random.default_rng(2)))
    exact = _to_pass(rows.rows, rows.own)
    assert (found.distances >= exact - 1e-9).all()
    assert np.median(found.distances / exact) < 1.02
    assert plain.ask(found.points[:, None], rows.own).flipped.all()


def test_descent_gives_back_no_worse_point_within_its_queries_and_leaves_alone_what_had_no_start() -> None:
    plain, matrix, own = _plain(_votes)
    known = np.where(own[:20] == 0, 3.0, -3.0)[:, None] * np.ones(len(NAMES))  # the corner where every tree agrees
    distances = np.abs(known - matrix[:20]).max(axis=1)
    distances[::4] = np.nan
    origins, pool = Origins(matrix[:20], own[:20]), Pool(matrix, own)
    for queries in (0, 100, 1000):
        asked = plain.oracle.rows
        given = Nearest(known, distances)
        found = descend(plain, origins, given, Means(pool, queries, np.random.default_rng(5)))
        again = descend(plain, origins, given, Means(pool, queries, np.random.default_rng(5)))
        assert (plain.oracle.rows - asked) / 2 <= queries * 15
        assert (found.distances[np.isfinite(distances)] <= distances[np.isfinite(distances)]).all()
        assert np.isnan(found.distances[::4]).all()
        assert (found.points[::4] == known[::4]).all()
        assert plain.ask(found.points[:, None], own[:20]).flipped.all()
        assert found.points.tobytes() == again.points.tobytes()
        assert queries < 1000 or (found.distances[1] < distances[1])


def _two_corners(table: Table) -> np.ndarray:
    """Another answer beyond either of two corners: at 1.0 in two features, at 0.5 in three others."""
    matrix = _matrix(table)
    return ((matrix[:, :2] > 1.0).all(axis=1) | (matrix[:, 3:] > 0.5).all(axis=1)).astype(int)


def test_walk_begins_anew_where_the_nearest_known_rows_lie_beyond_the_further_corner() -> None:
    plain, _, _ = _plain(_two_corners)
    near, far = np.zeros((8, len(NAMES))), np.zeros((400, len(NAMES)))
    near[:, :2] = 1.01
    far[:, 3:] = np.random.default_rng(3).uniform(2, 3, size=(400, 3))
    pool = Pool(np.concatenate([near, far]), np.ones(408, dtype=np.intp))
    rows = np.random.default_rng(4).uniform(-0.1, 0.1, size=(10, len(NAMES)))
    means, asked = Means(pool, 4000, np.random.default_rng(2)), plain.oracle.rows
    found = nearest_l2(plain, Origins(rows, np.zeros(10, dtype=np.intp)), means)
    exact = np.linalg.norm(0.5 - rows[:, 3:], axis=1)
    assert plain.oracle.rows - asked <= 10 * 4200  # the last step may go beyond
    assert (found.distances >= exact).all()
    assert np.median(found.distances / exact) < 1.1


def test_a_search_without_a_start_is_not_evaluated() -> None:
    plain, matrix, own = _plain(_linear)
    alike = own == own[0]
    pool = Pool(matrix[alike], own[alike])
    for search in (nearest_linf, nearest_l2):
        found = search(plain, Origins(matrix[:1], own[:1]), Means(pool, 200, np.random.default_rng(3)))
        assert np.isnan(found.distances).all()


def test_the_smoothed_plane_is_certified_exactly_where_the_margin_exceeds_the_radius() -> None:
    plain, matrix, own = _plain(_linear)
    margin = np.abs(matrix @ WEIGHTS) / np.linalg.norm(WEIGHTS)
    found = certify(
        plain, matrix, own, sigma=0.3, radius=0.3, queries=2000, confidence=0.999, rng=np.random.default_rng(4)
    )
    assert not found.certified[margin < 0.3].any()
    assert found.certified[margin > 0.45].all()
    assert found.queries < 2000 * len(matrix) / 4


def test_boundary_evidence_is_given_for_numbers_only() -> None:
    rng = np.random.default_rng(7)
    matrix = rng.uniform(-2, 2, size=(200, len(NAMES)))
    table = Table({name: matrix[:, place].copy() for place, name in enumerate(NAMES)})
    label = np.array([str(each) for each in _labels(table)], dtype=object)
    table = table.with_columns({"label": label})

    def details(features: dict[str, dict[str, Any]]) -> Any:
        subject = subject_of(_linear, features, thresholds=THRESHOLDS, classes=("0", "1"), evaluation=table)
        return run_check("adversarial_robustness", subject).details

    measured = details(FEATURES)["boundary"]
    assert measured["linf"]["median"] < measured["l2"]["median"]
    assert measured["linf"]["not_evaluated"] == 0
    rounded = table.columns["f3"] > 0
    table = table.with_columns({"f3": rounded.astype(float)})
    assert "boundary" not in details({**FEATURES, "f3": {"type": "boolean"}})


def test_both_shares_of_a_point_are_of_the_rows_that_were_evaluated() -> None:
    distances = np.array([0.03, np.nan, np.nan, 0.03])
    told = both_sides(Nearest(np.zeros((4, 1)), distances), np.array([0.0, 0.3, 0.3, 0.02]))
    assert (told["rows"], told["not_evaluated"]) == (2, 2)
    # Of all four rows three are proved at 0.02, of those evaluated one.
    assert [(point["attacked"], point["certified"]) for point in told["curve"][2:4]] == [(0.0, 0.5), (1.0, 0.0)]
    assert all(point["attacked"] + point["certified"] <= 1 for point in told["curve"])
    assert told["certified_median"] == pytest.approx(0.01)


def test_proofs_are_told_of_all_rows_where_no_attack_could_start() -> None:
    told = both_sides(Nearest(np.zeros((2, 1)), np.full(2, np.nan)), np.array([np.inf, 0.1]))
    assert (told["rows"], told["not_evaluated"], told["median"]) == (2, 2, None)
    assert [(point["attacked"], point["certified"]) for point in told["curve"][4:]] == [(None, 1.0), (None, 0.5)]
