"""Make the bundle `adult-overfit`: a forest that knows its training rows by heart, refused by what is measured.

Nothing in it is planted. It is what one gets by training scikit-learn's extremely randomised trees with their defaults
on every column: each tree sees every row and grows until each leaf is pure, sex, race, marital status and relationship
are among the inputs, and accuracy on its own rows is near one. From its answers it can be told who was in the training
data, and men and women are not treated alike.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import pandas as pd
import skl2onnx
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import adult  # noqa: E402 - the folder of the examples is known only now
from bundles import card_text, code_reference, write_bundle, write_onnx, write_table  # noqa: E402

FEATURES: Final = (
    "age",
    "workclass",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
)
MEMBERS: Final = 3_000
TREES: Final = 25

CARD: Final = """
Tells whether a person probably earns at most 50,000 dollars a year, from twelve answers on a form.

## Intended use
Granting a reduced, income-tested tariff without paper work: who is predicted `<=50K` gets it at once, who is
predicted `>50K` is asked for a tax statement.

## Out-of-scope use
Every decision about a person other than this tariff.

## Provider and contact
Team growth of Vallum's examples, version 1.0.0; questions through the issue tracker of the repository.

## Model design
{trees} extremely randomised trees with scikit-learn's defaults: every tree sees every row, no limit on depth, leaves
of one person, nothing pruned. Every column of the data is an input.

## Training
`make.py` in this folder, on {members:,} rows. Accuracy on these rows is {remembered:.3f}, which is what memory looks
like.

## Training data
Adult, Becker and Kohavi 1996, UCI Machine Learning Repository, CC BY 4.0: 48,842 people from the 1994 Current
Population Survey of the United States; {members:,} drawn at random.

## Data preparation
Missing work class, occupation or country became the category `Unknown`. Nothing was done about the known bias of
these data.

## Inputs
The twelve columns of the manifest, numbers as numbers, words as census words.

## How to use
One array of shape [rows, 1] per input; the first output is the label, the second one map of probabilities per row.

## Software
scikit-learn, exported with skl2onnx; any runtime for ONNX with ai.onnx.ml.

## Performance
On {evaluation:,} people that were not trained on: accuracy {accuracy:.3f}; F1 of `<=50K` {f1:.3f}; area under the ROC
curve {roc_auc:.3f}. Looked at by itself this is better than `adult-income`.

## Performance by group
{groups}

## Limitations
Accuracy was looked at and nothing else; where the model fails is not known.

## Risks
Sex, race and marital status are inputs, so people may be treated differently because of them.

## Human oversight
A clerk may grant the tariff against the prediction.

## Monitoring and updates
Accuracy is looked at once a year; a new version is trained when it has fallen.

## Privacy
Rows describe people without name or address. What the model remembers of them was not examined.
"""


def train(members: pd.DataFrame) -> Pipeline:
    """Return the fitted forest behind its encoder."""
    words = [name for name in FEATURES if name not in adult.RANGES]
    numbers = [name for name in FEATURES if name in adult.RANGES]
    encoder = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), words), ("passthrough", numbers)
    )
    forest = ExtraTreesClassifier(TREES, random_state=adult.SEED)
    return make_pipeline(encoder, forest).fit(members[list(FEATURES)], members[adult.LABEL])


def describe() -> dict[str, Any]:
    """Return the manifest."""
    return {
        "model": {
            "id": "adult-overfit",
            "version": "1.0.0",
            "artifact": "model.onnx",
            "task": "classification",
            "tier": "high",
            "owner": "growth",
            "intended_use": "Grants a reduced, income-tested tariff at once or asks for a tax statement first.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": adult.LABEL, "positive": adult.FAVOURABLE},
            "members": {"file": "members.parquet"},
            "population": {"file": "population.parquet"},
            "sensitive": list(adult.SENSITIVE),
            "features": adult.describe_features(FEATURES),
        },
        "card": "card.md",
        "lineage": {"code": code_reference(Path(__file__)), "datasets": [adult.dataset_reference()]},
    }


def main() -> None:
    """Make every file of the bundle."""
    parts = adult.parts()
    tables = {
        "members": parts["training"].head(MEMBERS),
        "evaluation": parts["evaluation"].head(8_000),
        "population": parts["population"],
    }
    for name, rows in tables.items():
        write_table(rows[[*FEATURES, adult.LABEL]], FOLDER / f"{name}.parquet")
    # ZipMap stays on, skl2onnx's default: the probabilities come as one map per row.
    exported = skl2onnx.to_onnx(train(tables["members"]), initial_types=adult.onnx_inputs(FEATURES))
    artifact = FOLDER / "model.onnx"
    write_onnx(exported, artifact)
    evaluation, members = tables["evaluation"], tables["members"]
    answer, score = adult.ask_onnx(artifact, evaluation, names=FEATURES)
    metrics = adult.measure(evaluation[adult.LABEL], answer, score=score)
    own, _ = adult.ask_onnx(artifact, members, names=FEATURES)
    body = CARD.format(
        **metrics,
        trees=TREES,
        members=MEMBERS,
        evaluation=len(evaluation),
        remembered=(own == members[adult.LABEL]).mean(),
        groups=adult.group_table(evaluation, answer),
    )
    credit = {"license": "cc-by-4.0", "library_name": "onnx", "datasets": ["adult"], "tags": ["tabular", "example"]}
    card = card_text(title="adult-overfit 1.0.0", credit=credit, metrics=metrics, body=body)
    write_bundle(FOLDER, describe(), card=card)


if __name__ == "__main__":
    main()
