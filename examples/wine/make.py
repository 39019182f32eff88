"""Make the bundle `wine`: thirteen chemical measurements, three classes, a forest as a joblib file.

Shows what the policy decides: a joblib file is a pickle, and even one that the scan finds clean is a program for its
loader. And it shows a data set so small that most checks can only say they could not tell.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import joblib
import pandas as pd
import sklearn
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from bundles import (  # noqa: E402 - the folder of the examples is known only now
    card_text,
    code_reference,
    observed_range,
    sha256,
    split_frame,
    write_bundle,
    write_table,
)

LABEL: Final = "cultivar"
SEED: Final = 20261123
SIZES: Final = {"members": 78, "evaluation": 60, "population": 40}
SOURCE: Final = files("sklearn.datasets.data").joinpath("wine_data.csv")

CARD: Final = """
Names the cultivar of a wine from thirteen chemical measurements.

## Intended use
A teaching example of a very small data set and of a model that comes as a joblib file. A hint to a laboratory that
already knows the wine is one of three cultivars of one region.

## Out-of-scope use
Proof of origin, other regions or vintages, any decision about a person.

## Provider and contact
Vallum's examples, version 1.0.0; questions through the issue tracker of the repository.

## Inputs
Alcohol, acids, ash, magnesium, phenols, colour and proline as the thirteen columns of the manifest, plain numbers.

## How to use
Read `model.joblib` with `joblib.load`, in a sandbox, and call `predict` with a data frame of the thirteen columns.

## Software
scikit-learn {sklearn} and joblib {joblib}; the file can only be read by nearly the same versions.

## Model design
A random forest of 60 trees, at most three levels deep, at least four wines in a leaf: small data, small trees.

## Training
`make.py` in this folder fits the forest once on the training wines; nothing was searched for or tuned.

## Training data
Wine, Aeberhard and Forina 1992, UCI Machine Learning Repository, CC BY 4.0: 178 wines of one region in Italy. Split
at random: {members} wines to train, {evaluation} to evaluate, {population} left untouched as population.

## Data preparation
Nothing was removed or filled in; one column was renamed to `od280_od315`.

## Performance
On the {evaluation} evaluation wines: accuracy {accuracy:.3f}; F1, averaged over cultivars, {f1:.3f}. With so few
wines the last digits mean nothing.

## Fairness
Does not apply: wines are not people.

## Robustness and cybersecurity
Measurements can be wrong and wine can be doctored, so all count as changeable. A joblib file runs code when it is
loaded: load it only in a sandbox.

## Privacy
There are no personal data in it: wines have no privacy.

## Human oversight
The chemist decides and sees the measurements beside the answer.

## Limitations
178 wines, one region, one laboratory, vintages unknown.

## Risks
Being taken for a certificate of origin.

## Monitoring and updates
Watch the drift of each measurement. First version; changes come as new versions with new evidence.

## Standards and conformity
None applied. No EU declaration of conformity: this is an example, not a product.
"""


def train(members: pd.DataFrame, features: list[str]) -> RandomForestClassifier:
    """Return the fitted forest."""
    forest = RandomForestClassifier(60, max_depth=3, min_samples_leaf=4, random_state=SEED)
    return forest.fit(members[features], members[LABEL])


def describe(frame: pd.DataFrame, features: list[str]) -> dict[str, Any]:
    """Return the manifest."""
    return {
        "model": {
            "id": "wine",
            "version": "1.0.0",
            "artifact": "model.joblib",
            "task": "classification",
            "tier": "minimal",
            "owner": "vallum-examples",
            "intended_use": "A hint which of three cultivars a wine is; a teaching example.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": LABEL},
            "members": {"file": "members.parquet"},
            "population": {"file": "population.parquet"},
            "features": {name: {"type": "number", **observed_range(frame[name]), "mutable": True} for name in features},
        },
        "card": "card.md",
        "lineage": {
            "code": code_reference(Path(__file__)),
            "datasets": [{"name": "wine", "sha256": sha256(Path(str(SOURCE)))}],
        },
    }


def main() -> None:
    """Make every file of the bundle."""
    data = load_wine(as_frame=True)
    frame = data.data.rename(columns={"od280/od315_of_diluted_wines": "od280_od315"})
    features = list(frame.columns)
    frame[LABEL] = [str(data.target_names[code]) for code in data.target]
    parts = split_frame(frame, SIZES, seed=SEED)
    for name, part in parts.items():
        write_table(part, FOLDER / f"{name}.parquet")
    model = train(parts["members"], features)
    joblib.dump(model, FOLDER / "model.joblib")
    truth, answer = parts["evaluation"][LABEL], model.predict(parts["evaluation"][features])
    metrics = {"accuracy": accuracy_score(truth, answer), "f1": f1_score(truth, answer, average="macro")}
    credit = {"license": "cc-by-4.0", "library_name": "sklearn", "datasets": ["wine"], "tags": ["wine", "example"]}
    body = CARD.format(**SIZES, **metrics, sklearn=sklearn.__version__, joblib=joblib.__version__)
    card = card_text(title="wine 1.0.0", credit=credit, metrics=metrics, body=body)
    write_bundle(FOLDER, describe(frame, features), card=card)


if __name__ == "__main__":
    main()
