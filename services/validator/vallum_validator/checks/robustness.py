"""`adversarial_robustness`: how many right answers a small change that could happen in the world turns wrong.

Rows are attacked in a random order until the interval of the attacked fraction leaves the policy's limit on one side.
The attacked fraction is a lower bound of the truth: an attack that fails proves nothing, and the reason says so. For
models made of trees the other side is told as well: how many answers provably stay. The verdict rests on the attack
alone, which every model can be put through.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vallum_common.errors import Invalid
from vallum_validator.checks.augmentation import candidates
from vallum_validator.checks.boundary import boundary
from vallum_validator.checks.bracket import Attacked, certified, feasible_curve
from vallum_validator.checks.certificate import Certifier, certifier_of
from vallum_validator.checks.feasible import attack_feasible
from vallum_validator.checks.hardening import COPIES, Trial, VotingPredictor
from vallum_validator.checks.oracle import Oracle
from vallum_validator.checks.search import Pool, Reach
from vallum_validator.checks.sequential import confidence_sequence, final_interval, outcome_below
from vallum_validator.checks.space import Matrix, Space, build_space
from vallum_validator.checks.truth import Labelled, labelled
from vallum_validator.domain.evidence import CheckResult, Detail, Interval, Outcome
from vallum_validator.table import PredictionFailed, Predictor, Subject

NAME = "adversarial_robustness"

_BATCH = 50
"""Rows attacked between two looks at the interval: a clear model is decided after one or two."""
_HARDENED = 300
"""Rows on which a hardened model is tried: its copies cost as many predictions as the verdict did."""
_UNSTEADY = 0.02
"""More answers than this share changing in another batch is no rounding of single-precision sums any more."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What is attacked, and how.

    Args:
        oracle: the model.
        reach: what may be changed, and how much may be asked.
        rows: predicted rows.
        matrix: them, as the search reads them.
    """

    oracle: Oracle
    reach: Reach
    rows: Labelled
    matrix: Matrix

    @classmethod
    def of(cls, predictor: Predictor, reach: Reach, rows: Labelled) -> _Target:
        """The target that a model is on some rows."""
        return cls(Oracle(predictor, reach.space, rows), reach, rows, reach.space.encode(rows.table))


@dataclass(slots=True)
class _Tally:
    """What the attack has shown so far."""

    evaluated: int = 0
    flipped: int = 0
    unsteady: int = 0
    confirmed: list[bool] = field(default_factory=list)
    changed: list[int] | None = None
    by_feature: NDArray[np.intp] | None = None


def check(subject: Subject) -> CheckResult:
    """Measure the attacked fraction.

    Raises:
        Invalid: a part of the bundle or the model is missing or unusable; says which.
        PredictionFailed: the model gave no answer that can be trusted.
    """
    policy = subject.thresholds.adversarial_robustness
    tier = subject.manifest.model.tier
    radius, limit = policy.radius.at(tier), policy.attacked_fraction.at(tier)
    rng = np.random.default_rng([subject.seed, 1])
    rows = labelled(subject)
    if subject.predictor is None or not subject.predictor.features:
        raise Invalid("data.features is missing: without it nobody knows which changes of a row are possible")
    space = build_space(subject.predictor.features, [rows.table], radius)
    reach = Reach(space, int(policy.discrete_changes.value), int(policy.queries.value))
    target = _Target.of(subject.predictor, reach, rows)
    planned = _planned(target, rng)[: int(policy.rows.value)]
    tally, interval = _attack(target, planned, limit=limit, confidence=policy.confidence.value, rng=rng)
    outcome = outcome_below(interval, limit)
    value = tally.flipped / tally.evaluated
    details = _details(subject, rows, space, tally, len(planned))
    # Rows count as drawn one by one. Few categories repeat by nature, a file that repeats its rows by intent.
    details["distinct_rows"] = len(np.unique(target.matrix[planned], axis=0))
    try:
        details |= _bracket(subject, target, planned, tally, rng=rng)
        details |= _hardening(subject, reach, rows, value) if outcome is Outcome.FAIL else {}
    except Invalid as error:
        # A model must not talk its way out of a FAIL by crashing afterwards; out of a PASS it does.
        if outcome is not Outcome.FAIL:
            raise
        details["not_measured"] = error.message
    return CheckResult(
        name=NAME,
        outcome=outcome,
        value=value,
        interval=interval,
        confidence=policy.confidence.value,
        samples=tally.evaluated,
        method=(
            f"feasible-search(radius={radius:g},discrete_changes={reach.discrete_changes},queries={reach.queries},"
            f"scores={'yes' if target.oracle.has_scores else 'no'})+beta-binomial-confidence-sequence"
        ),
        seed=subject.seed,
        reason=_reason(outcome, tally, interval, limit, radius)
        + _allowed(space)
        + _proof(details.get("certified"))
        + rows.once,
        details=details,
    )


def _bracket(
    subject: Subject, target: _Target, planned: NDArray[np.intp], tally: _Tally, *, rng: np.random.Generator
) -> dict[str, Detail]:
    """Return what can be proved, and both sides at other radii and in plain norms."""
    policy = subject.thresholds.adversarial_robustness
    oracle, reach, rows = target.oracle, target.reach, target.rows
    attacked = Attacked(target.matrix[planned], rows.predicted[planned], np.array(tally.confirmed))
    details: dict[str, Detail] = {}
    certifier: Certifier | None = None
    try:
        certifier = certifier_of(subject.prover, oracle, reach.space, rows, rng)
        details["certified"] = certified(certifier, reach, attacked, policy.confidence.value)
    except PredictionFailed:
        raise
    except Invalid as error:
        certifier = None
        details["not_certified"] = error.message
    some = planned[: int(policy.boundary_rows.value)]
    details["curve"] = feasible_curve(oracle, reach, rows, some, certifier=certifier, rng=rng)
    radius = policy.radius.at(subject.manifest.model.tier)
    details |= boundary(oracle, reach.space, rows, planned, policy, radius=radius, certifier=certifier, rng=rng)
    return details


def _planned(target: _Target, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows that can be attacked, in random order: answered right, and something about them may change."""
    rows, reach, matrix = target.rows, target.reach, target.matrix
    if not rows.correct.any():
        raise Invalid(f"the model answers none of the {len(rows)} evaluation rows right; there is nothing to attack")
    low, high = reach.space.box(matrix)
    movable = (low < high).any(axis=1)
    if reach.discrete_changes:
        movable |= reach.space.alternatives(matrix).open.any(axis=1)
    candidates = np.flatnonzero(rows.correct & movable)
    if not len(candidates):
        raise Invalid("nothing may change: every feature is immutable, constant, missing or outside its range")
    return rng.permutation(candidates)


def _attack(
    target: _Target, planned: NDArray[np.intp], *, limit: float, confidence: float, rng: np.random.Generator
) -> tuple[_Tally, Interval]:
    matrix, answers = target.matrix, target.rows.predicted
    pool = Pool(matrix, answers)
    tally = _Tally(changed=[], by_feature=np.zeros(matrix.shape[1], dtype=np.intp))
    for start in range(0, len(planned), _BATCH):
        batch = planned[start : start + _BATCH]
        candidates = attack_feasible(target.oracle, target.reach, matrix[batch], answers[batch], pool=pool, rng=rng)
        _count(tally, _confirm(target, batch, candidates, tally), matrix[batch], candidates)
        look = confidence_sequence(tally.flipped, tally.evaluated, 0.5 + confidence / 2)
        if outcome_below(look, limit) is not Outcome.INCONCLUSIVE:
            break
    if tally.unsteady > _UNSTEADY * tally.evaluated:
        raise Invalid(
            f"the model gave another answer to {tally.unsteady} rows when asked again beside other rows, of "
            f"{tally.evaluated}; what it says of changed rows then means nothing"
        )
    exhausted = tally.evaluated == len(planned)
    return tally, final_interval(tally.flipped, tally.evaluated, exhausted=exhausted, confidence=confidence)


def _hardening(subject: Subject, reach: Reach, rows: Labelled, before: float) -> dict[str, Detail]:
    """Attack what might withstand more: the model behind a vote over nearby rows, and models trained otherwise."""
    if subject.predictor is None:
        return {}
    rng = np.random.default_rng([subject.seed, 1, 1])
    some = rows.take(rng.permutation(len(rows))[:_HARDENED])
    trials = []
    if len(reach.space.graded):
        voting = VotingPredictor(subject.predictor, reach.space, rng)
        trials.append(_tried(subject, reach, some, before, (f"answer with the mean over {COPIES} rows nearby", voting)))
    for candidate in candidates(subject, reach, np.random.default_rng([subject.seed, 1, 2])):
        with contextlib.suppress(Invalid):
            # A trainer that breaks off costs a recommendation, not the measurement of the model.
            trials.append(_tried(subject, reach, some, before, candidate))
    return {"hardening": [trial.detail() for trial in trials]} if trials else {}


def _tried(subject: Subject, reach: Reach, some: Labelled, before: float, candidate: tuple[str, Predictor]) -> Trial:
    measure, predictor = candidate
    policy = subject.thresholds.adversarial_robustness
    rng = np.random.default_rng([subject.seed, 1, 3])
    rows = labelled(replace(subject, predictor=predictor, evaluation=some.table))
    target = _Target.of(predictor, reach, rows)
    tally, interval = _attack(
        target,
        _planned(target, rng)[: 2 * _BATCH],
        limit=policy.attacked_fraction.at(subject.manifest.model.tier),
        confidence=policy.confidence.value,
        rng=rng,
    )
    return Trial(
        measure=measure,
        before=before,
        after=tally.flipped / tally.evaluated,
        low=interval.low,
        high=interval.high,
        accuracy_before=float(some.correct.mean()),
        accuracy_after=float(rows.correct.mean()),
    )


def _confirm(target: _Target, batch: NDArray[np.intp], candidates: Matrix, tally: _Tally) -> NDArray[np.bool_]:
    """Return which candidates are possible in the world, flip the answer when asked again beside the original, and flip
    that of the model as submitted."""
    oracle, reach = target.oracle, target.reach
    originals, own = target.matrix[batch], target.rows.predicted[batch]
    claimed = ((candidates != originals) & ~(np.isnan(candidates) & np.isnan(originals))).any(axis=1)
    possible = reach.space.is_feasible(candidates, originals, reach.discrete_changes)
    asked = np.flatnonzero(claimed & possible)
    answer = oracle.ask(np.concatenate([originals, candidates[asked]]), np.concatenate([own, own[asked]]))
    strayed, flipped = answer.flipped[: len(own)], answer.flipped[len(own) :]
    confirmed = np.zeros(len(own), dtype=bool)
    confirmed[asked] = flipped & ~strayed[asked]
    tally.unsteady += int(strayed.sum() + (~flipped).sum())
    claimed = np.flatnonzero(confirmed)
    confirmed[claimed] = oracle.confirm(originals[claimed], candidates[claimed], own[claimed])
    return confirmed


def _count(tally: _Tally, confirmed: NDArray[np.bool_], originals: Matrix, candidates: Matrix) -> None:
    tally.evaluated += len(confirmed)
    tally.confirmed += confirmed.tolist()
    tally.flipped += int(confirmed.sum())
    before, after = originals[confirmed], candidates[confirmed]
    differs = (before != after) & ~(np.isnan(before) & np.isnan(after))
    if tally.changed is not None and tally.by_feature is not None:
        tally.changed += differs.sum(axis=1).tolist()
        tally.by_feature += differs.sum(axis=0)


def _reason(outcome: Outcome, tally: _Tally, interval: Interval, limit: float, radius: float) -> str:
    found = (
        f"{tally.flipped} of {tally.evaluated} right answers flipped by a feasible change within {radius:.0%} of each "
        f"feature's span ({interval.low:.1%} to {interval.high:.1%})"
    )
    verdict = {
        Outcome.PASS: f"at most the {limit:.0%} policy allows, though a stronger attack may find more",
        Outcome.FAIL: f"more than the {limit:.0%} policy allows",
        Outcome.INCONCLUSIVE: f"too few rows to tell it from the {limit:.0%} that policy allows",
    }
    return f"{found}: {verdict[outcome]}"


def _allowed(space: Space) -> str:
    """How much of a row may change, where it is not all: a model of which hardly anything may change looks strong."""
    movable = len(space.graded) + len(space.jumping)
    return "" if movable == len(space.axes) else f"; {movable} of {len(space.axes)} features can change"


def _proof(told: Detail) -> str:
    if not isinstance(told, dict):
        return ""
    return f"; {told['fraction']:.1%} of {told['rows']} right answers are proved to stay"


def _details(subject: Subject, rows: Labelled, space: Space, tally: _Tally, planned: int) -> dict[str, Detail]:
    policy = subject.thresholds.adversarial_robustness
    tier = subject.manifest.model.tier
    counts = tally.by_feature if tally.by_feature is not None else np.zeros(0, dtype=np.intp)
    order = np.argsort(-counts, kind="stable")[:10]
    return {
        "threshold": {
            "attacked_fraction": policy.attacked_fraction.at(tier),
            "source": policy.attacked_fraction.source,
        },
        "rows": len(rows),
        "unlabelled_rows": rows.unlabelled,
        "copied_rows": rows.copied,
        "accuracy": float(rows.correct.mean()),
        "robust_accuracy_at_most": float(rows.correct.mean()) * (1 - tally.flipped / tally.evaluated),
        "rows_planned": planned,
        "changed_answers": tally.unsteady,
        "median_changed_features": float(np.median(tally.changed)) if tally.changed else None,
        "changed_features": {space.axes[place].name: int(counts[place]) for place in order if counts[place]},
        "graded_features": len(space.graded),
        "jumping_features": len(space.jumping),
        "label_mapping": dict(rows.mapping),
    }
