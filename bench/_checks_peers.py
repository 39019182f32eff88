"""What the peers measure on the same models: ART, fairlearn and veritas, in an interpreter that has them.

`checks.py` runs it, and names the versions. Answers go to standard output, one JSON document a line.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from _checks_models import (
    ADULT_FIXED,
    ADULT_MODELS,
    ADULT_NUMBERS,
    ADULT_WORDS,
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


def hop_skip_jump(samples: int) -> None:
    """ART's HopSkipJump with its defaults on the first rows of each cell, both norms."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import SklearnClassifier

    for data, kind in CELLS:
        model, rows, own = image_cell(data, kind)
        classifier = SklearnClassifier(model=model, clip_values=(0.0, 1.0))
        for norm, order in (("linf", np.inf), ("l2", 2)):
            np.random.seed(0)
            attack = HopSkipJump(classifier, norm=order, verbose=False)
            asked = _count_queries(classifier)
            started = time.perf_counter()
            found = attack.generate(x=rows[:samples].astype(np.float32))
            seconds = time.perf_counter() - started
            queries = asked[0] / samples
            flipped = model.predict(found) != own[:samples]
            distances = np.linalg.norm(found - rows[:samples], ord=order, axis=1)
            distances = [float(each) if flip else None for each, flip in zip(distances, flipped, strict=True)]
            tell("hsj", data=data, model=kind, norm=norm, seconds=seconds, distances=distances, queries=queries)


def _count_queries(classifier: object) -> list[int]:
    """Have a classifier count the rows it is asked."""
    count, ask = [0], classifier.predict

    def counted(x: np.ndarray, *more: object, **named: object) -> np.ndarray:
        count[0] += len(x)
        return ask(x, *more, **named)

    classifier.predict = counted
    return count


def exact_distances(data: str, samples: int) -> None:
    """The exact smallest change in the maximum norm of a forest, by veritas with its own converter."""
    import veritas

    model, rows, own = image_cell(data, "forest")
    trees = veritas.get_addtree(model, silent=True)
    started = time.perf_counter()
    distances = []
    for row, answer in zip(rows[:samples], own[:samples], strict=True):
        if len(model.classes_) == 2:
            # One output, positive for class 1: lowered for a row of class 1, raised for one of class 0.
            pairs = [(trees, None) if answer == 1 else (None, trees)]
        else:
            single = [trees.make_singleclass(place) for place in range(len(model.classes_))]
            pairs = [(single[answer], other) for place, other in enumerate(single) if place != answer]
        ends = [
            veritas.VeritasRobustnessSearch(
                row, 0.5, *pair, num_steps=14, max_time=60 / len(pairs), silent=True
            ).search()[1:]
            for pair in pairs
        ]
        distances.append([float(min(low for low, _ in ends)), float(min(high for _, high in ends))])
    tell("exact", data=data, distances=distances, seconds=time.perf_counter() - started)


def feasible(samples: int) -> None:
    """ART's HopSkipJump on the encoded rows of Adult, and what is left of it once its rows are made possible again."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifier

    for kind in ADULT_MODELS:
        pipeline, _, right = adult_cell(kind)
        encode, learner = pipeline.steps[0][1], pipeline.steps[1][1]
        rows = right[:samples]
        encoded = encode.transform(rows)
        classifier = BlackBoxClassifier(learner.predict_proba, (encoded.shape[1],), 2)
        asked = _count_queries(classifier)
        np.random.seed(0)
        started = time.perf_counter()
        found = HopSkipJump(classifier, norm=2, max_iter=10, verbose=False).generate(x=encoded.astype(np.float32))
        seconds = time.perf_counter() - started
        own = pipeline.predict(rows)
        flipped = learner.predict(found) != own
        possible = _projected(encode, found, rows)
        unchanged = np.abs(encode.transform(possible) - found).max(axis=1) < 1e-3
        within = flipped & unchanged
        projected = pipeline.predict(possible) != own
        few = (possible.to_numpy() != rows.to_numpy()).sum(axis=1) <= 3
        tell(
            "feasible",
            model=kind,
            rows=len(rows),
            seconds=seconds,
            queries=asked[0] / len(rows),
            flipped=float(flipped.mean()),
            feasible=float(within.mean()),
            projected=float((projected & few).mean()),
        )


def _projected(encode: object, found: np.ndarray, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as they could be: the largest indicator, whole numbers within a tenth of the range, the rest as it was."""
    words, scale = encode.named_transformers_["onehotencoder"], encode.named_transformers_["standardscaler"]
    width = sum(map(len, words.categories_))
    changed = rows.copy()
    start = 0
    for name, categories in zip(ADULT_WORDS, words.categories_, strict=True):
        if name not in ADULT_FIXED:
            changed[name] = categories[found[:, start : start + len(categories)].argmax(axis=1)]
        start += len(categories)
    numbers = scale.inverse_transform(found[:, width:])
    features = adult_features()
    for place, name in enumerate(ADULT_NUMBERS):
        low, high = features[name]["min"], features[name]["max"]
        step = 0.1 * (high - low)
        nearest = np.clip(np.round(numbers[:, place]), rows[name] - step, rows[name] + step)
        changed[name] = np.clip(np.round(nearest), low, high).astype(int)
    return changed


def membership() -> None:
    """ART's trained membership attack (a random forest), given half of the members and as many others to learn from."""
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
    from art.estimators.classification.scikitlearn import SklearnClassifier

    for data, name in TARGETS:
        matrix, truth = membership_rows(data)
        model = membership_target(name, matrix, truth)
        wrapped = SklearnClassifier(model=model) if name != "boosting" else _black_box(model, matrix)
        half, other = MEMBERS // 2, MEMBERS + MEMBERS // 2
        started = time.perf_counter()
        np.random.seed(0)
        attack = MembershipInferenceBlackBox(wrapped, attack_model_type="rf")
        attack.fit(matrix[:half], truth[:half], matrix[MEMBERS:other], truth[MEMBERS:other])
        members = attack.infer(matrix[half:MEMBERS], truth[half:MEMBERS], probabilities=True)[:, 0]
        population = attack.infer(matrix[other:], truth[other:], probabilities=True)[:, 0]
        cut = np.sort(population)[::-1][int(0.01 * len(population))]
        rate = float((members > cut).mean())
        tell("membership", data=data, target=name, seconds=time.perf_counter() - started, rate=rate)


def _black_box(model: object, matrix: np.ndarray) -> object:
    from art.estimators.classification import BlackBoxClassifier

    return BlackBoxClassifier(model.predict_proba, (matrix.shape[1],), 2)


def fairness() -> None:
    """fairlearn's MetricFrame on the crossed columns, and its disparities for each column and all crossed."""
    from fairlearn.metrics import (
        MetricFrame,
        demographic_parity_difference,
        demographic_parity_ratio,
        equal_opportunity_difference,
        equalized_odds_difference,
        false_negative_rate,
        false_positive_rate,
        selection_rate,
        true_negative_rate,
        true_positive_rate,
    )
    from sklearn.metrics import accuracy_score, precision_score

    columns, truth, predicted = fairness_rows()
    crossed = np.column_stack([*columns.values()])
    metrics = {"selection": selection_rate, "tpr": true_positive_rate, "fpr": false_positive_rate}
    started = time.perf_counter()
    MetricFrame(metrics=metrics, y_true=truth, y_pred=predicted, sensitive_features=crossed)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    draws = 3
    MetricFrame(
        metrics=metrics,
        y_true=truth,
        y_pred=predicted,
        sensitive_features=crossed,
        n_boot=draws,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    bootstrap = (time.perf_counter() - started - seconds) / draws
    metrics |= {"tnr": true_negative_rate, "fnr": false_negative_rate}
    metrics |= {"precision": precision_score, "accuracy": accuracy_score}
    frame = MetricFrame(metrics=metrics, y_true=truth, y_pred=predicted, sensitive_features=crossed)
    groups = {" x ".join(key): row.to_dict() for key, row in frame.by_group.iterrows()}
    disparities = {
        "demographic parity ratio": demographic_parity_ratio,
        "demographic parity difference": demographic_parity_difference,
        "equal opportunity difference": equal_opportunity_difference,
        "equalised odds difference": equalized_odds_difference,
    }
    families = {
        name: {each: float(ask(truth, predicted, sensitive_features=column)) for each, ask in disparities.items()}
        for name, column in {**columns, " x ".join(columns): crossed}.items()
    }
    tell("fairness", seconds=seconds, seconds_per_draw=bootstrap, groups=groups, families=families)


def tell(what: str, **figures: object) -> None:
    """Write one answer."""
    print(json.dumps({"what": what, **figures}), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    samples, *parts = sys.argv[1:]
    if "fairness" in parts:
        fairness()
    if "membership" in parts:
        membership()
    if "nearest" in parts:
        exact_distances("breast-cancer", 20)
        exact_distances("digits", 12)
        hop_skip_jump(int(samples))
    if "feasible" in parts:
        feasible(20)
