"""How good and how fast the four checks are, beside the libraries one would otherwise use, on the same models.

    .venv/bin/python bench/checks.py [--only PART …] [--samples N] [--peers PYTHON | --answers FILE | --alone]

The peers are ART, fairlearn and veritas, installed from the package index into an environment that goes with the run;
`--peers` names an interpreter that has them already, `--answers` a file that keeps what they said, `--alone` leaves
them out. `--samples` is how many rows ART's HopSkipJump gets per cell: it needs seconds for each.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import joblib
import numpy as np
import onnxruntime
import pandas as pd
from _checks_models import (
    ADULT_MODELS,
    ADULT_NUMBERS,
    CELLS,
    MEMBERS,
    TARGETS,
    adult_cell,
    adult_features,
    fairness_rows,
    image_cell,
    membership_rows,
    membership_target,
)
from skl2onnx import to_onnx

from vallum_common.bundle import Feature, open_bundle
from vallum_validator.assess import assess, seed_of
from vallum_validator.checks import load_thresholds
from vallum_validator.checks.disparity import Criterion, gap, impact
from vallum_validator.checks.feasible import attack_feasible
from vallum_validator.checks.groups import Family, confusion, families
from vallum_validator.checks.intervals import clopper_pearson
from vallum_validator.checks.leakage import leakage
from vallum_validator.checks.membership import attack
from vallum_validator.checks.nearest import nearest_l2, nearest_linf
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.plain import Means, Origins, Plain
from vallum_validator.checks.references import OwnKind, judged, train_references
from vallum_validator.checks.resampling import bonferroni, simultaneous_confidence
from vallum_validator.checks.search import Pool, Reach
from vallum_validator.checks.sequential import confidence_sequence, final_interval, outcome_below
from vallum_validator.checks.space import Space, build_space
from vallum_validator.checks.structure import read_structure
from vallum_validator.checks.testing import InProcessProver, subject_of
from vallum_validator.checks.trees import certified_radius
from vallum_validator.checks.truth import Labelled, labelled
from vallum_validator.domain.evidence import Outcome
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.trainer import SandboxTrainer
from vallum_validator.table import Subject, Table

HERE = Path(__file__).parent
PEERS = (
    "adversarial-robustness-toolbox==1.20.1",
    "packaging",  # which ART imports and does not declare
    "fairlearn==0.15.0",
    "dtai-veritas==0.3.1",
    "pyarrow",
    *(f"{name}=={version(name)}" for name in ("scikit-learn", "numpy", "pandas")),  # or the models differ
)
THRESHOLDS = load_thresholds(HERE.parent / "policies" / "thresholds.yaml")
ROWS = 100
QUERIES = {"linf": 5_000, "l2": 4_000}
"""A fifth to a third of what ART asks for each row with its defaults."""
FEASIBLE_QUERIES = 200


def main() -> None:
    """Print every figure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peers", help="a Python interpreter with ART, fairlearn and veritas")
    arguments.add_argument("--alone", action="store_true", help="without the peers")
    arguments.add_argument("--samples", type=int, default=12)
    arguments.add_argument(
        "--only", choices=sorted(PARTS), action="append", help="print this part alone; may be repeated"
    )
    arguments.add_argument("--answers", type=Path, help="read the peers' answers from here instead of measuring them")
    chosen = arguments.parse_args()
    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    parts = chosen.only or [*PARTS]
    peers = [] if chosen.alone else _peers(chosen.peers, chosen.answers, [str(chosen.samples), *parts])
    for name in parts:
        title, part = PARTS[name]
        print(f"\n{title}")
        part(peers)


def nearest(peers: Sequence[Mapping[str, Any]]) -> None:
    """Distances and time of both norms in four cells, and the bracket certified <= exact <= attacked on the forests."""
    for data, kind in CELLS:
        model, rows, own = image_cell(data, kind)
        plain, pool = _plain(model, rows, own)
        for norm, search, order in (("linf", nearest_linf, np.inf), ("l2", nearest_l2, 2)):
            started = time.perf_counter()
            means = Means(pool, QUERIES[norm], np.random.default_rng(0))
            found = search(plain, Origins(rows[:ROWS], own[:ROWS]), means)
            distances = _confirmed(model, found.points, rows[:ROWS], own[:ROWS], order)
            seconds = time.perf_counter() - started
            line = f"  {data:14s}{kind:7s}{norm:5s} {seconds:6.2f} s  median {np.nanmedian(distances):.4f}"
            line += f"  not started {int(np.isnan(found.distances).sum())}, "
            line += f"not confirmed {int(np.isnan(distances).sum())}"
            answer = _answered(peers, what="hsj", data=data, model=kind, norm=norm)
            if answer:
                count = len(answer["distances"])
                means = Means(pool, int(answer["queries"]), np.random.default_rng(0))
                alike = search(plain, Origins(rows[:count], own[:count]), means)
                equal = _confirmed(model, alike.points, rows[:count], own[:count], order)
                line += _against_art(answer, distances, equal, seconds)
            print(line, flush=True)
            if (kind, norm) == ("forest", "linf"):
                _bracket(peers, model, rows, own, distances, data)


def _confirmed(model: Any, points: np.ndarray, rows: np.ndarray, own: np.ndarray, order: float) -> np.ndarray:
    """How far found points lie, NaN where the original gives its own answer: the search asks the converted model."""
    return np.where(model.predict(points) != own, np.linalg.norm(points - rows, ord=order, axis=1), np.nan)


def _against_art(answer: Mapping[str, Any], ours: np.ndarray, alike: np.ndarray, seconds: float) -> str:
    """ART's time for as many rows, and its distances beside ours with our queries and with as many as it asks."""
    theirs = np.array([np.nan if each is None else each for each in answer["distances"]])
    # The rows ART could not start from are left out on both sides: they need not be like the others.
    started = ~np.isnan(theirs)
    ours, alike = ours[: len(theirs)][started], alike[started]
    whole = answer["seconds"] / len(theirs) * ROWS
    return (
        f"  | ART {whole:6.0f} s for as many ({whole / seconds:.0f}x), on {len(theirs)} rows median "
        f"{np.nanmedian(theirs):.4f} with {answer['queries']:,.0f} queries a row, ours on them "
        f"{np.nanmedian(ours):.4f}, with as many queries {np.nanmedian(alike):.4f}; "
        f"not started {int(np.isnan(theirs).sum())}"
    )


def _bracket(
    peers: Sequence[Mapping[str, Any]], model: Any, rows: np.ndarray, own: np.ndarray, attacked: np.ndarray, data: str
) -> None:
    prover = InProcessProver(model, {f"f{place}": Feature(type="number") for place in range(rows.shape[1])})
    started = time.perf_counter()
    structure = read_structure(prover.structure(), (0,) * rows.shape[1])
    certified = certified_radius(structure, rows[:ROWS], own[:ROWS], np.ones(rows.shape[1]))
    seconds = time.perf_counter() - started
    print(
        f"    certified by leaf boxes in {seconds:.2f} s: median {np.median(certified):.4f}, at most attacked in "
        f"{np.mean(certified <= attacked):.0%} of rows"
    )
    answer = next((each for each in peers if each["what"] == "exact" and each["data"] == data), None)
    if answer is None:
        return
    low, high = np.array(answer["distances"]).T
    count = len(low)
    print(
        f"    veritas on {count} rows in {answer['seconds']:.0f} s: attacked / exact median "
        f"{np.median(attacked[:count] / low):.3f}, certified / exact median {np.median(certified[:count] / high):.3f}, "
        f"certified <= exact {np.mean(certified[:count] <= high + 1e-6):.0%}, "
        f"exact <= attacked {np.mean(low <= attacked[:count] + 1e-6):.0%}"
    )


def feasible(peers: Sequence[Mapping[str, Any]]) -> None:
    """How many of the rows that a change of three fields can flip are flipped with few queries."""
    for kind in ADULT_MODELS:
        oracle, space, known = _adult(kind)
        matrix = space.encode(known.table)
        chosen = np.flatnonzero(known.correct)[:ROWS]
        rows, own, pool = matrix[chosen], known.predicted[chosen], Pool(matrix, known.predicted)
        flips: dict[int, np.ndarray] = {}
        for queries in (20 * FEASIBLE_QUERIES, FEASIBLE_QUERIES):
            reach = Reach(space, discrete_changes=3, queries=queries, fields=3)
            asked, started = oracle.rows, time.perf_counter()
            found = attack_feasible(oracle, reach, rows, own, pool=pool, rng=np.random.default_rng(0))
            seconds, spent = time.perf_counter() - started, (oracle.rows - asked) / len(chosen)
            flips[queries] = oracle.ask(found, own).flipped & reach.holds(found, rows)
        few = flips[FEASIBLE_QUERIES]
        exist = int((few | flips[20 * FEASIBLE_QUERIES]).sum())
        print(
            f"  {kind:9s} {few.sum()} of {exist} rows that {20 * FEASIBLE_QUERIES:,} queries can flip "
            f"({few.sum() / exist:.0%}; {len(chosen)} attacked), {spent:.0f} queries a row, {seconds:.2f} s"
            + _against_projection(peers, kind),
            flush=True,
        )


def _against_projection(peers: Sequence[Mapping[str, Any]], kind: str) -> str:
    answer = next((each for each in peers if each["what"] == "feasible" and each["model"] == kind), None)
    if answer is None:
        return ""
    return (
        f"  | ART on {answer['rows']} rows {answer['seconds']:.1f} s, {answer['queries']:,.0f} queries a row: flipped "
        f"{answer['flipped']:.0%}, feasible {answer['feasible']:.0%}, within three fields after projection "
        f"{answer['projected']:.0%}"
    )


def _adult(kind: str) -> tuple[Oracle, Space, Labelled]:
    model, test, _ = adult_cell(kind)
    features = adult_features()
    kinds = {name: float if name in ADULT_NUMBERS else object for name in features}
    table = Table({name: test[name].to_numpy().astype(kinds[name]) for name in features})
    table = table.with_columns({"label": test["income"].to_numpy().astype(object)})

    def ask(asked: Table) -> np.ndarray:
        return model.predict_proba(pd.DataFrame({name: asked.columns[name] for name in features}))

    subject = subject_of(ask, features, thresholds=THRESHOLDS, classes=tuple(model.classes_), evaluation=table)
    if subject.predictor is None:
        raise RuntimeError("a subject made of a formula always has a predictor")
    known = labelled(subject)
    # A tenth of the whole range, as in the literature, where a check takes the central part of the data.
    axes = [
        replace(axis, span=axis.high - axis.low, step=np.round(0.1 * (axis.high - axis.low)), jumps=False)
        if axis.kind == "integer"
        else axis
        for axis in build_space(subject.predictor.features, [table], 0.1).axes
    ]
    space = Space(tuple(axes))
    return Oracle(subject.predictor, space, known), space, known


def coverage(_peers: Sequence[Mapping[str, Any]], simulations: int = 2_000) -> None:
    """How often an interval holds the truth: exact after all rows, and the sequence while stopping early."""
    rng = np.random.default_rng(0)
    for truth in (0.05, 0.2, 0.35, 0.5):
        fixed, ever, stopped, used = 0, 0, 0, []
        for _ in range(simulations):
            hits = np.cumsum(rng.random(1_000) < truth)
            looks = np.arange(50, 1_001, 50)
            low, high = clopper_pearson(hits[-1], 1_000)
            fixed += low <= truth <= high
            sequence = [confidence_sequence(int(hits[look - 1]), int(look), 0.975) for look in looks]
            ever += all(each.low <= truth <= each.high for each in sequence)
            end = next(
                (n for n, each in enumerate(sequence) if outcome_below(each, 0.35) is not Outcome.INCONCLUSIVE), None
            )
            at = len(looks) - 1 if end is None else end
            told = final_interval(int(hits[looks[at] - 1]), int(looks[at]), exhausted=end is None)
            stopped += told.low <= truth <= told.high
            used.append(int(looks[at]))
        print(
            f"  truth {truth:.2f}: exact interval of 1,000 rows {fixed / simulations:.1%}; at every look "
            f"{ever / simulations:.1%}; as reported when stopping {stopped / simulations:.1%} (nominal 95 %), "
            f"{np.median(used):.0f} rows used"
        )


def membership(peers: Sequence[Mapping[str, Any]]) -> None:
    """The worst attack on each target: with references of the model's own kind, trained in the sandbox as for a bundle
    that keeps how it was trained, and with forests of ours, as for one that does not."""
    for data, name in TARGETS:
        matrix, truth = membership_rows(data)
        model = membership_target(name, matrix, truth)
        with _submitted(model, matrix, truth) as (subject, start):
            answered = (labelled(subject, "members"), labelled(subject, "population"))
            rows = (judged(answered[0], matrix[:MEMBERS]), judged(answered[1], matrix[MEMBERS:]))
            told = []
            for own_kind in (True, False):
                started, spent = time.perf_counter(), _processor_seconds()
                with contextlib.ExitStack() as stack:
                    learner = OwnKind(stack.enter_context(start()), ("0", "1"), answered) if own_kind else None
                    references = train_references(*rows, np.random.default_rng(0), learner)
                    found = leakage(attack(*rows, references, np.random.default_rng(1)), 0.01, 0.95)
                told.append((found, time.perf_counter() - started, _processor_seconds() - spent))
        (found, wall, seconds), (ours, _, less) = told
        point, least = found.points[0.01], found.points[0.001]
        answer = _answered(peers, what="membership", data=data, target=name)
        art = f"  | ART {answer['rate']:.3f}, {answer['seconds']:.1f} s" if answer else ""
        print(
            f"  {data:6s}{name:16s}{point.rate:.3f} ({point.interval.low:.3f} to {point.interval.high:.3f}, "
            f"{found.worst}), at 0.1 % {least.rate:.3f}, AUC {found.area:.3f}, epsilon {found.epsilon:.1f}, "
            f"{wall:.1f} s ({seconds:.1f} s of processor); "
            f"forests of ours {ours.points[0.01].rate:.3f}, {less:.1f} s{art}"
        )


def _processor_seconds() -> float:
    """Of this process and of its children that have ended: what a busy machine cannot stretch."""
    return sum(os.times()[:4])


@contextlib.contextmanager
def _submitted(model: Any, matrix: np.ndarray, truth: np.ndarray) -> Iterator[tuple[Subject, Callable[[], Any]]]:
    """A subject that holds the model's rows, and how to start its trainer in the sandbox."""
    names = [f"f{place}" for place in range(matrix.shape[1])]
    text = np.array([str(each) for each in truth], dtype=object)

    def table(rows: slice) -> Table:
        return Table({**{name: matrix[rows, place].copy() for place, name in enumerate(names)}, "label": text[rows]})

    subject = subject_of(
        lambda asked: model.predict_proba(np.column_stack([asked.columns[name] for name in names])),
        {name: {"type": "number"} for name in names},
        thresholds=THRESHOLDS,
        classes=tuple(str(each) for each in model.classes_),
        evaluation=table(slice(MEMBERS, MEMBERS + 100)),
        members=table(slice(0, MEMBERS)),
        population=table(slice(MEMBERS, None)),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.joblib"
        joblib.dump(model, path)

        @contextlib.contextmanager
        def start() -> Iterator[SandboxTrainer]:
            with Worker("the trainer", [path], allow_weaker_isolation=True) as worker:
                yield SandboxTrainer(worker, path, "joblib", subject.manifest)

        yield subject, start


def _answered(peers: Sequence[Mapping[str, Any]], **cell: str) -> Mapping[str, Any] | None:
    return next((each for each in peers if cell.items() <= each.items()), None)


def fairness(peers: Sequence[Mapping[str, Any]]) -> None:
    """All groups with a thousand bootstrap draws, and whether the rates equal fairlearn's."""
    columns, truth, predicted = fairness_rows()
    table = Table({name: column.astype(object) for name, column in columns.items()})
    rows = Labelled(table, truth, predicted, None, ("0", "1"), {}, 0)
    started = time.perf_counter()
    found = families(rows, tuple(columns), 12)
    grouped = time.perf_counter() - started
    simultaneous_confidence(found, (1,), 0.95, np.random.default_rng(0))
    seconds = time.perf_counter() - started
    print(f"  {len(found)} families of groups in {grouped:.3f} s, with 1,000 draws {seconds:.3f} s")
    answer = next((each for each in peers if each["what"] == "fairness"), None)
    if answer is None:
        return
    differences = [
        abs(ours - theirs)
        for family in found
        for ours, theirs in _shared_metrics(family, answer["families"].get(family.title, {}), answer["groups"])
    ]
    print(
        f"  fairlearn: once {answer['seconds']:.2f} s, 1,000 draws {1000 * answer['seconds_per_draw']:.0f} s; "
        f"largest difference among {len(differences)} figures of both {max(differences):.1e}"
    )


def _shared_metrics(
    family: Family, disparities: Mapping[str, float], groups: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[float, float]]:
    """Every figure of a family that both tell, ours and fairlearn's."""
    seen = confusion(family.counts, 1)
    everybody = np.ones(len(seen.rows), dtype=bool)
    right = seen.rows - seen.selected - seen.actual + 2 * seen.hits
    rates = {
        "selection": seen.selected / seen.rows,
        "tpr": seen.hits / seen.actual,
        "fpr": seen.false_alarms / seen.others,
        "tnr": 1 - seen.false_alarms / seen.others,
        "fnr": 1 - seen.hits / seen.actual,
        "precision": seen.hits / seen.selected,
        "accuracy": right / seen.rows,
    }
    for place, name in enumerate(family.names):
        yield from ((rates[key][place], theirs) for key, theirs in groups.get(name, {}).items())
    judged_by = Criterion(limit=0.8, least_share=0.0, confidence=0.95, simultaneous=0.95, strict=0.95)
    odds = [
        gap(hits, trials, everybody, judged_by)
        for hits, trials in ((seen.hits, seen.actual), (seen.false_alarms, seen.others))
    ]
    opportunity, alarms = (np.nan if each is None else each.value for each in odds)
    ours = {
        "demographic parity ratio": rates["selection"].min() / rates["selection"].max(),
        "demographic parity difference": np.ptp(rates["selection"]),
        "equal opportunity difference": opportunity,
        "equalised odds difference": max(opportunity, alarms),
    }
    yield from ((ours[key], theirs) for key, theirs in disparities.items())


def refusals(_peers: Sequence[Mapping[str, Any]], simulations: int = 1_000) -> None:
    """How often a fair model fails, and how often a group selected 0.6 times as often is found, by number of rows."""
    shares = np.array([0.576, 0.279, 0.048, 0.048, 0.021, 0.011, 0.006, 0.005, 0.004, 0.002])
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    for rate, rows in itertools.product((0.05, 0.24), (300, 1_000, 5_000, 20_000, 100_000)):
        fair, passed, rule, found, wrong, above = 0, 0, 0, 0, 0, 0
        for _ in range(simulations):
            size = np.maximum(rng.multinomial(rows, shares / shares.sum()), 1)
            alike = rng.binomial(size, rate)
            lower = rng.binomial(size, np.where(np.arange(len(shares)) == 2, 0.6 * rate, rate))
            verdict = _outcome(alike, size, rng)
            fair += verdict is Outcome.FAIL
            passed += verdict is Outcome.PASS
            large = size >= 30
            rule += (alike[large] / size[large]).min() < 0.8 * (alike[large] / size[large]).max()
            outcome = _outcome(lower, size, rng)
            found += outcome is Outcome.FAIL
            wrong += outcome is Outcome.PASS
            higher = other.binomial(size, np.where(np.arange(len(shares)) == 2, rate / 0.75, rate))
            above += _outcome(higher, size, other) is Outcome.PASS
        print(
            f"  {rows:7,d} rows, {rate:.0%} selected: refused {fair / simulations:.1%} "
            f"(80 % rule {rule / simulations:.0%}), passed {passed / simulations:.0%}; a 4.8 % group at 0.6: found "
            f"{found / simulations:.0%}, passed {wrong / simulations:.1%}; all others at 0.75 of such a group: passed "
            f"{above / simulations:.1%}",
            flush=True,
        )
    for rows, (base, true_rate, false_rate) in itertools.product(
        (300, 1_000, 5_000), ((0.24, 0.6, 0.1), (0.05, 0.6, 0.02), (0.5, 0.85, 0.15))
    ):
        refused, found = 0, 0
        for _ in range(simulations):
            size = np.maximum(rng.multinomial(rows, shares / shares.sum()), 1)
            fair_rates = np.full(len(shares), true_rate)
            refused += _apart(size, base, (fair_rates, false_rate), rng) > 0
            fair_rates[2] -= 0.4
            found += _apart(size, base, (fair_rates, false_rate), rng) > 0.05
        print(
            f"  {rows:7,d} rows, {base:.0%} positive, equal odds ({true_rate:g}, {false_rate:g}): refused "
            f"{refused / simulations:.1%} where no gap is allowed; a 4.8 % group 0.4 lower: found at a limit of 0.05 "
            f"{found / simulations:.0%}"
        )


def _apart(size: np.ndarray, base: float, rates: tuple[np.ndarray, float], rng: np.random.Generator) -> float:
    """How far the error rates of two groups surely lie apart, by the check on one column of groups."""
    positive = rng.binomial(size, base)
    hits, alarms = rng.binomial(positive, rates[0]), rng.binomial(size - positive, rates[1])
    counts = np.stack([size - positive - alarms, alarms, positive - hits, hits], axis=1).reshape(-1, 2, 2)
    family = Family(("group",), tuple(map(str, range(len(size)))), counts, np.arange(len(size)), np.zeros(0, np.intp))
    needed, strict = simultaneous_confidence([family], (1,), 0.95, rng), bonferroni([family], (1,), 0.95)
    criterion = Criterion(0.8, 0.02, 0.95, simultaneous=needed, strict=strict)
    seen, large = confusion(counts, 1), size >= 0.02 * size.sum()
    gaps = (gap(seen.hits, seen.actual, large, criterion), gap(seen.false_alarms, seen.others, large, criterion))
    return max((found.interval.low for found in gaps if found), default=0.0)


def _outcome(selected: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> Outcome | None:
    """The verdict of the check on one column of groups."""
    counts = np.zeros((len(size), 2, 2), dtype=np.int64)
    counts[:, 0, 0], counts[:, 0, 1] = size - selected, selected
    family = Family(("group",), tuple(map(str, range(len(size)))), counts, np.arange(len(size)), np.zeros(0, np.intp))
    needed, strict = simultaneous_confidence([family], (1,), 0.95, rng), bonferroni([family], (1,), 0.95)
    found = impact(confusion(counts, 1), Criterion(0.8, 0.02, 0.95, simultaneous=needed, strict=strict))
    return found.outcome if found else None


def bundles(_peers: Sequence[Mapping[str, Any]]) -> None:
    """The example bundles as `vallum submit` measures them."""
    for name in ("adult-income", "adult-overfit"):
        root = HERE.parent / "examples" / name
        if not root.is_dir():
            continue
        with open_bundle(root) as bundle:
            ends = [time.perf_counter()]
            result = assess(
                bundle.root,
                bundle.manifest,
                thresholds=THRESHOLDS,
                seed=seed_of(bundle.files[0].sha256, bundle.manifest_bytes),
                on_progress=lambda progress: ends.append(time.perf_counter()) if progress.check else None,  # noqa: B023
                allow_weaker_isolation=True,
            )
        told = ", ".join(f"{check.name} {check.outcome.value}" for check in result.checks)
        print(f"  {name}: {time.perf_counter() - ends[0]:.1f} s, {told}")
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        f"  largest memory of this process, every benchmark above included: {own:.0f} MB, of the largest worker, which "
        f"runs beside it: {worker:.0f} MB"
    )


def _plain(model: Any, rows: np.ndarray, own: np.ndarray) -> tuple[Plain, Pool]:
    names = [f"f{place}" for place in range(rows.shape[1])]
    table = Table({name: rows[:, place].copy() for place, name in enumerate(names)})
    table = table.with_columns({"label": np.array([str(each) for each in own], dtype=object)})
    ask = _converted(model, rows)
    subject = subject_of(
        lambda asked: ask(np.column_stack([asked.columns[name] for name in names])),
        {name: {"type": "number", "min": 0, "max": 1} for name in names},
        thresholds=THRESHOLDS,
        classes=tuple(str(each) for each in model.classes_),
        evaluation=table,
    )
    if subject.predictor is None:
        raise RuntimeError("a subject made of a formula always has a predictor")
    known = labelled(subject)
    oracle = Oracle(subject.predictor, build_space(subject.predictor.features, [table], 0.05), known)
    one = np.ones(rows.shape[1])
    return Plain(oracle, one, 0 * one, one), Pool(rows, known.predicted)


def _converted(model: Any, rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The model through ONNX Runtime, as the sandbox would ask it; itself where the labels differ."""
    converted = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(converted, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def ask(matrix: np.ndarray) -> np.ndarray:
        return session.run(None, {name: matrix.astype(np.float32)})[1]

    same = (ask(rows).argmax(axis=1) == model.predict_proba(rows).argmax(axis=1)).all()
    return ask if same else model.predict_proba


def _peers(interpreter: str | None, answers: Path | None, asked: Sequence[str]) -> list[dict[str, Any]]:
    if answers:
        told = answers.read_text()
    else:
        with _environment(interpreter) as python:
            if python is None:
                print("the peers could not be installed, and are left out\n")
                return []
            command = [python, HERE / "_checks_peers.py", *asked]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if finished.returncode:
            print(f"the peers stopped with exit code {finished.returncode}; what they said before it is shown")
        told = finished.stdout
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def _environment(interpreter: str | None) -> Iterator[str | Path | None]:
    """An interpreter that has the peers: the one that was named, or one made for the run; `None` where that fails."""
    if interpreter:
        yield interpreter
        return
    uv = Path(sys.executable).parent / "uv"
    with tempfile.TemporaryDirectory() as home:
        python = Path(home) / "bin" / "python"
        make = (uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
        fill = (uv, "pip", "install", "--quiet", "--python", python, *PEERS)
        failed = any(subprocess.run(step, check=False).returncode for step in (make, fill))
        yield None if failed else python


PARTS: Mapping[str, tuple[str, Callable[[Sequence[Mapping[str, Any]]], None]]] = {
    "nearest": (
        f"nearest other answer, {ROWS} rows, {QUERIES['linf']:,} and {QUERIES['l2']:,} queries a row "
        "(ART: HopSkipJump with its defaults)",
        nearest,
    ),
    "feasible": (
        "a change of at most three fields that could happen, Adult, 200 queries (ART: HopSkipJump, then projected)",
        feasible,
    ),
    "coverage": ("coverage of intervals, attacked fraction of 1,000 rows, policy's limit 0.35", coverage),
    "membership": (
        'membership inference, true positive rate at 1 % false positives (ART: its attack "rf")',
        membership,
    ),
    "fairness": ("fairness, 100,000 rows, three sensitive columns (fairlearn)", fairness),
    "refusals": (
        "a fair model refused (10 groups of Adult's sizes, 5 and 24 % selected; the 80 % rule on point estimates)",
        refusals,
    ),
    "bundles": ("all four checks, with sandbox, scan and data", bundles),
}


if __name__ == "__main__":
    main()
