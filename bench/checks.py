"""How good and how fast the four checks are, beside the libraries one would otherwise use, on the same models.

    .venv/bin/python bench/checks.py [--peers PYTHON] [--samples N]

`--peers` names an interpreter with ART, fairlearn and veritas (see `checks_peers.py`); without it only our own
figures are printed. `--samples` is how many rows ART's HopSkipJump gets per cell: it needs seconds for each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import joblib
import numpy as np
from checks_models import CELLS, MEMBERS, TARGETS, fairness_rows, image_cell, membership_rows, membership_target

from vallum_common.bundle import open_bundle
from vallum_validator.assess import assess, seed_of
from vallum_validator.checks import load_thresholds
from vallum_validator.checks.disparity import Criterion, impact
from vallum_validator.checks.feasible import Pool
from vallum_validator.checks.groups import Confusion, confusion, families
from vallum_validator.checks.leakage import leakage
from vallum_validator.checks.membership import attack
from vallum_validator.checks.nearest import Nearest, Plain, nearest_l2, nearest_linf
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.references import OwnKind, judged, train_references
from vallum_validator.checks.resampling import simultaneous_confidence
from vallum_validator.checks.space import build_space
from vallum_validator.checks.testing import subject_of
from vallum_validator.checks.trees import TreeEnsemble, certified_radius
from vallum_validator.checks.truth import Labelled, labelled
from vallum_validator.domain import Outcome
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.trainer import SandboxTrainer
from vallum_validator.table import Subject, Table

HERE = Path(__file__).parent
THRESHOLDS = load_thresholds(HERE.parent / "policies" / "thresholds.yaml")
ROWS = 100
QUERIES = 1_500


def main() -> None:
    """Print every figure."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peers", help="a Python interpreter with ART, fairlearn and veritas")
    arguments.add_argument("--samples", type=int, default=4)
    arguments.add_argument(
        "--only", choices=sorted(PARTS), action="append", help="print this part alone; may be repeated"
    )
    arguments.add_argument("--answers", type=Path, help="read the peers' answers from here instead of measuring them")
    chosen = arguments.parse_args()
    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    peers = _peers(chosen.peers, chosen.samples, chosen.answers)
    for name, (title, part) in PARTS.items():
        if not chosen.only or name in chosen.only:
            print(f"\n{title}")
            part(peers)


def nearest(peers: Sequence[Mapping[str, Any]]) -> None:
    """Distances and time of both norms in four cells, and the bracket certified <= exact <= attacked on a forest."""
    for data, kind in CELLS:
        model, rows, own = image_cell(data, kind)
        plain, pool = _plain(model, rows, own)
        for norm, search in (("linf", nearest_linf), ("l2", nearest_l2)):
            started = time.perf_counter()
            found = search(plain, rows[:ROWS], own[:ROWS], pool=pool, queries=QUERIES, rng=np.random.default_rng(0))
            seconds = time.perf_counter() - started
            line = f"  {data:14s}{kind:7s}{norm:5s} {seconds:6.2f} s  median {np.nanmedian(found.distances):.4f}"
            line += f"  not started {int(np.isnan(found.distances).sum())}"
            print(line + _against_art(peers, found, data=data, model=kind, norm=norm))
            if (data, kind, norm) == ("breast-cancer", "forest", "linf"):
                _bracket(peers, model, rows, own, found)


def _against_art(peers: Sequence[Mapping[str, Any]], found: Nearest, **cell: str) -> str:
    answer = _answered(peers, what="hsj", **cell)
    if answer is None:
        return ""
    distances = np.array([np.nan if each is None else each for each in answer["distances"]])
    ours = np.median(found.distances[: len(distances)])
    each = answer["seconds"] / len(distances)
    return (
        f"  | ART {each * ROWS:6.0f} s; on its {len(distances)} rows {np.nanmedian(distances):.4f}, ours {ours:.4f}; "
        f"not started {int(np.isnan(distances).sum())}"
    )


def _bracket(peers: Sequence[Mapping[str, Any]], model: Any, rows: np.ndarray, own: np.ndarray, found: Nearest) -> None:
    certified = certified_radius(ensemble_of(model), rows[:ROWS], own[:ROWS])
    ordered = np.mean(certified <= found.distances + 1e-6)
    print(f"    certified from the trees: median {np.median(certified):.4f}, at most attacked in {ordered:.0%} of rows")
    answer = next((each for each in peers if each["what"] == "exact"), None)
    if answer is None:
        return
    low, high = np.array(answer["distances"]).T
    count = len(low)
    print(
        f"    veritas on {count} rows: attacked / exact median {np.median(found.distances[:count] / high):.3f}, "
        f"certified <= exact {np.mean(certified[:count] <= high + 1e-6):.0%}, "
        f"exact <= attacked {np.mean(low <= found.distances[:count] + 1e-6):.0%}"
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
    seen = confusion(found[-1].counts, 1)
    worst = 0.0
    for place, name in enumerate(found[-1].names):
        theirs = answer["groups"][name]
        ours = (
            seen.selected[place] / seen.rows[place],
            seen.hits[place] / seen.actual[place],
            seen.false_alarms[place] / seen.others[place],
        )
        worst = max(
            worst, *(abs(one - theirs[key]) for one, key in zip(ours, ("selection", "tpr", "fpr"), strict=True))
        )
    for family in found[: len(columns)]:
        single = confusion(family.counts, 1)
        rate = single.selected / single.rows
        worst = max(worst, abs(rate.min() / rate.max() - answer["ratios"][family.title]))
    print(
        f"  fairlearn: once {answer['seconds']:.2f} s, 1,000 draws {1000 * answer['seconds_per_draw']:.0f} s; "
        f"largest difference of any rate {worst:.1e}"
    )


def refusals(_peers: Sequence[Mapping[str, Any]], simulations: int = 1_000) -> None:
    """How often a fair model fails, and how often a group selected 0.6 times as often is found, by number of rows."""
    shares = np.array([0.576, 0.279, 0.048, 0.048, 0.021, 0.011, 0.006, 0.005, 0.004, 0.002])
    rng = np.random.default_rng(0)
    for rows in (1_000, 5_000, 20_000, 100_000):
        fair, rule, found, wrong = 0, 0, 0, 0
        criterion = Criterion(limit=0.8, least_share=0.02, confidence=0.95, simultaneous=1 - 0.05 / (len(shares) - 1))
        for _ in range(simulations):
            size = np.maximum(rng.multinomial(rows, shares / shares.sum()), 1)
            alike = rng.binomial(size, 0.24)
            lower = rng.binomial(size, np.where(np.arange(len(shares)) == 2, 0.6 * 0.24, 0.24))
            fair += _outcome(alike, size, criterion) is Outcome.FAIL
            large = size >= 30
            rule += (alike[large] / size[large]).min() < 0.8 * (alike[large] / size[large]).max()
            outcome = _outcome(lower, size, criterion)
            found += outcome is Outcome.FAIL
            wrong += outcome is Outcome.PASS
        print(
            f"  {rows:7,d} rows: refused {fair / simulations:.1%} (80 % rule {rule / simulations:.0%}); "
            f"a 4.8 % group at 0.6: found {found / simulations:.0%}, passed {wrong / simulations:.1%}"
        )


def _outcome(selected: np.ndarray, size: np.ndarray, criterion: Criterion) -> Outcome | None:
    zeros = np.zeros(len(size), dtype=np.int64)
    found = impact(Confusion(size, selected, zeros, zeros), criterion)
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
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  largest memory of this process, every benchmark above included: {memory:.0f} MB")


def ensemble_of(forest: Any) -> TreeEnsemble:
    """Return a scikit-learn forest's leaves as boxes."""
    tree, low, high, value = [], [], [], []
    for place, estimator in enumerate(forest.estimators_):
        nodes = estimator.tree_
        stack = [(0, np.full(forest.n_features_in_, -np.inf), np.full(forest.n_features_in_, np.inf))]
        while stack:
            node, lowest, highest = stack.pop()
            if nodes.children_left[node] < 0:
                tree.append(place)
                low.append(lowest)
                high.append(highest)
                value.append(nodes.value[node, 0] / nodes.value[node, 0].sum())
                continue
            left, right = highest.copy(), lowest.copy()
            feature, cut = nodes.feature[node], nodes.threshold[node]
            left[feature], right[feature] = min(left[feature], cut), max(right[feature], cut)
            stack += [(nodes.children_left[node], lowest, left), (nodes.children_right[node], right, highest)]
    return TreeEnsemble(np.array(tree), np.array(low), np.array(high), np.array(value), np.zeros(len(forest.classes_)))


def _plain(model: Any, rows: np.ndarray, own: np.ndarray) -> tuple[Plain, Pool]:
    names = [f"f{place}" for place in range(rows.shape[1])]
    table = Table({name: rows[:, place].copy() for place, name in enumerate(names)})
    table = table.with_columns({"label": np.array([str(each) for each in own], dtype=object)})
    subject = subject_of(
        lambda asked: model.predict_proba(np.column_stack([asked.columns[name] for name in names])),
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


def _peers(interpreter: str | None, samples: int, answers: Path | None) -> list[dict[str, Any]]:
    if answers:
        told = answers.read_text()
    elif interpreter:
        command = [interpreter, str(HERE / "checks_peers.py"), str(samples)]
        finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if finished.returncode:
            print(f"the peers stopped with exit code {finished.returncode}; what they said before it is shown")
        told = finished.stdout
    else:
        print("peers not measured: give --peers an interpreter that has them\n")
        told = ""
    return [json.loads(line) for line in told.splitlines() if line.startswith("{")]


PARTS = {
    "nearest": (
        f"nearest other answer, {ROWS} rows, {QUERIES} queries a row (ART: HopSkipJump with its defaults)",
        nearest,
    ),
    "membership": (
        'membership inference, true positive rate at 1 % false positives (ART: its attack "rf")',
        membership,
    ),
    "fairness": ("fairness, 100,000 rows, three sensitive columns (fairlearn)", fairness),
    "refusals": (
        "a fair model refused (10 groups of Adult's sizes, selection rate 0.24; the 80 % rule on point estimates)",
        refusals,
    ),
    "bundles": ("all four checks, with sandbox, scan and data", bundles),
}


if __name__ == "__main__":
    main()
