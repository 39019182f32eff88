"""Make the bundle `breast-cancer`: thirty measured numbers, two classes, a scikit-learn pipeline in the skops format.

Shows a bundle without sensitive columns: what the fairness check cannot tell it must say, and not pass.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pandas as pd
import sklearn
import skops
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from bundles import (  # noqa: E402 - the folder of the examples is known only now
    card_text,
    code_reference,
    observed_range,
    sha256,
    split_frame,
    write_bundle,
    write_skops,
    write_table,
)

LABEL: Final = "diagnosis"
SEED: Final = 20261123
SIZES: Final = {"members": 285, "evaluation": 142, "population": 142}
SOURCE: Final = files("sklearn.datasets.data").joinpath("breast_cancer.csv")

CARD: Final = """
Tells malignant from benign breast masses by thirty numbers measured on a digitised fine-needle aspirate.

## Intended use
A teaching example of a model with numeric inputs. A second reader: its answer is shown to a pathologist after the
first reading, never before and never alone.

## Out-of-scope use
Screening, people for whom no aspirate was taken, images from other microscopes, and any use in care; it is not a
medical device.

## Provider and contact
Vallum's examples, version 1.0.0; questions through the issue tracker of the repository.

## Inputs
Radius, texture, perimeter, area, smoothness, compactness, concavity, concave points, symmetry and fractal dimension
of the cell nuclei in one image: mean, standard error and mean of the three largest of each, as plain numbers.

## How to use
Read `model.skops` with `skops.io.load` and call `predict` with a data frame of the thirty columns.

## Software
scikit-learn {sklearn}, stored with skops {skops}; any machine that runs Python 3.11.

## Model design
Standardised numbers into a logistic regression with an L2 penalty (C = 0.05). A linear model because 285 rows do not
support more, because each weight can be read, and because a strong penalty keeps it from remembering single women.
Optimised for log loss; no costs of errors are built in, so a missed cancer weighs as much as a false alarm.

## Training
`make.py` in this folder fits the pipeline once on the {members} training rows; nothing was searched for or tuned.

## Training data
Breast Cancer Wisconsin (Diagnostic), Wolberg, Mangasarian, Street and Street 1993, UCI Machine Learning Repository,
CC BY 4.0: 569 women of one hospital, 357 benign. Split at random: {members} rows to train, {evaluation} to evaluate,
{population} left untouched as population.

## Data preparation
Diagnoses were confirmed by biopsy or follow-up. Nothing was removed or filled in; blanks in column names became `_`.

## Performance
On the {evaluation} evaluation rows: accuracy {accuracy:.3f}, F1 of `malignant` {f1:.3f}, area under the ROC curve
{roc_auc:.3f}; {missed} of {malignant} malignant masses were called benign. Accuracy suits a set with 37 % malignant;
the missed cancers are given because they are what harms.

## Fairness
Unknown. The data hold no age, ethnicity or country of the women, so no group can be compared.

## Robustness and cybersecurity
Every input is a measurement and may be wrong, so all thirty count as changeable. The model is linear: small errors in
many measurements at once move it. It reads numbers only and opens no files.

## Privacy
Rows are measurements of cell nuclei without names; membership can still be sensitive. The penalty limits what is
remembered, see the evidence of the check `data_privacy`.

## Human oversight
A pathologist decides; the model can be ignored or switched off without loss of function.

## Limitations
One hospital, early nineties, 569 women, one way to stain and to digitise.

## Risks
False reassurance by an answer `benign`, and habit: a second reader that is always there becomes the first.

## Monitoring and updates
Watch the share of `malignant` and the drift of each measurement against the evaluation rows. First version; changes
come as new versions with new evidence.

## Standards and conformity
None applied. No EU declaration of conformity: this is an example, not a product.
"""


def train(members: pd.DataFrame, features: list[str]) -> Pipeline:
    """Return the fitted pipeline."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))
    return model.fit(members[features], members[LABEL])


def describe(frame: pd.DataFrame, features: list[str]) -> dict[str, Any]:
    """Return the manifest."""
    return {
        "model": {
            "id": "breast-cancer",
            "version": "1.0.0",
            "artifact": "model.skops",
            "task": "classification",
            "tier": "high",
            "owner": "vallum-examples",
            "intended_use": "Second reader for fine-needle aspirates; a teaching example, not a medical device.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": LABEL, "positive": "malignant"},
            "members": {"file": "members.parquet"},
            "population": {"file": "population.parquet"},
            "features": {name: {"type": "number", **observed_range(frame[name]), "mutable": True} for name in features},
        },
        "card": "card.md",
        "lineage": {
            "code": code_reference(Path(__file__)),
            "datasets": [{"name": "breast-cancer-wisconsin-diagnostic", "sha256": sha256(Path(str(SOURCE)))}],
        },
    }


def main() -> None:
    """Make every file of the bundle."""
    data = load_breast_cancer(as_frame=True)
    frame = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    features = list(frame.columns)
    frame[LABEL] = [str(data.target_names[code]) for code in data.target]
    parts = split_frame(frame, SIZES, seed=SEED)
    for name, part in parts.items():
        write_table(part, FOLDER / f"{name}.parquet")
    model = train(parts["members"], features)
    write_skops(model, FOLDER / "model.skops")
    truth = parts["evaluation"][LABEL]
    answer = model.predict(parts["evaluation"][features])
    score = model.predict_proba(parts["evaluation"][features])[:, list(model.classes_).index("malignant")]
    metrics = {
        "accuracy": accuracy_score(truth, answer),
        "f1": f1_score(truth, answer, pos_label="malignant"),
        "roc_auc": roc_auc_score(truth == "malignant", score),
    }
    malignant = truth == "malignant"
    body = CARD.format(
        **SIZES,
        **metrics,
        malignant=malignant.sum(),
        missed=(answer[malignant] == "benign").sum(),
        sklearn=sklearn.__version__,
        skops=skops.__version__,
    )
    credit = {"license": "cc-by-4.0", "library_name": "sklearn", "datasets": ["breast-cancer-wisconsin-diagnostic"]}
    card = card_text(title="breast-cancer 1.0.0", credit=credit, metrics=metrics, body=body)
    write_bundle(FOLDER, describe(frame, features), card=card)


if __name__ == "__main__":
    main()
