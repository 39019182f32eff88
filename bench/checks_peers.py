"""What the peers measure on the same models: ART 1.20.1, fairlearn 0.15.0, veritas 0.3.1. Run by `checks.py`.

Their packages are not among ours; `checks.py --peers PYTHON` names an interpreter that has them
(`pip install adversarial-robustness-toolbox==1.20.1 packaging fairlearn==0.15.0 dtai-veritas==0.3.1
scikit-learn==1.9.1`). Answers go to standard output, one JSON document a line.
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np
from checks_models import CELLS, MEMBERS, TARGETS, fairness_rows, image_cell, membership_rows, membership_target


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
            started = time.perf_counter()
            found = attack.generate(x=rows[:samples].astype(np.float32))
            seconds = time.perf_counter() - started
            flipped = model.predict(found) != own[:samples]
            distances = np.linalg.norm(found - rows[:samples], ord=order, axis=1)
            distances = [float(each) if flip else None for each, flip in zip(distances, flipped, strict=True)]
            tell("hsj", data=data, model=kind, norm=norm, seconds=seconds, distances=distances)


def exact_distances(samples: int) -> None:
    """The exact smallest change in the maximum norm of the breast-cancer forest, by veritas."""
    import veritas

    model, rows, own = image_cell("breast-cancer", "forest")
    trees = veritas.get_addtree(model, silent=True)
    distances = []
    for row, answer in zip(rows[:samples], own[:samples], strict=True):
        # One output, positive for class 1: the search lowers it for a row of class 1 and raises it for one of class 0.
        source, target = (trees, None) if answer == 1 else (None, trees)
        search = veritas.VeritasRobustnessSearch(row, 0.5, source, target, num_steps=14, max_time=60, silent=True)
        _, low, high = search.search()
        distances.append([float(low), float(high)])
    tell("exact", distances=distances)


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
    """fairlearn's MetricFrame on the crossed columns and its ratio for each column."""
    from fairlearn.metrics import (
        MetricFrame,
        demographic_parity_ratio,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )

    columns, truth, predicted = fairness_rows()
    metrics = {"selection": selection_rate, "tpr": true_positive_rate, "fpr": false_positive_rate}
    started = time.perf_counter()
    frame = MetricFrame(
        metrics=metrics, y_true=truth, y_pred=predicted, sensitive_features=np.column_stack([*columns.values()])
    )
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    draws = 3
    MetricFrame(
        metrics=metrics,
        y_true=truth,
        y_pred=predicted,
        sensitive_features=np.column_stack([*columns.values()]),
        n_boot=draws,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    bootstrap = (time.perf_counter() - started - seconds) / draws
    groups = {" x ".join(key): row.to_dict() for key, row in frame.by_group.iterrows()}
    ratios = {
        name: float(demographic_parity_ratio(truth, predicted, sensitive_features=column))
        for name, column in columns.items()
    }
    tell("fairness", seconds=seconds, seconds_per_draw=bootstrap, groups=groups, ratios=ratios)


def tell(what: str, **figures: object) -> None:
    """Write one answer."""
    print(json.dumps({"what": what, **figures}), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    try:
        import art  # noqa: F401
    except ImportError:
        print("bench/checks_peers.py: ART is not installed here; bench/checks.py --peers PYTHON runs it")
        sys.exit(0)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    if sys.argv[2:] == ["membership"]:
        membership()
        sys.exit(0)
    fairness()
    membership()
    exact_distances(20)
    hop_skip_jump(count)
