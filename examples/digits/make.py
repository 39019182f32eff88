"""Make the bundle `digits`: 64 pixels in one tensor, ten classes, integer labels, a neural network as ONNX.

Shows the other way an ONNX model is called: one input of shape [rows, features] instead of one input per feature.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pandas as pd
import skl2onnx
import sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from bundles import (  # noqa: E402 - the folder of the examples is known only now
    card_text,
    code_reference,
    sha256,
    split_frame,
    write_bundle,
    write_onnx,
    write_table,
)

LABEL: Final = "digit"
SEED: Final = 20261123
SIZES: Final = {"members": 799, "evaluation": 499, "population": 499}
SOURCE: Final = files("sklearn.datasets.data").joinpath("digits.csv.gz")

CARD: Final = """
Reads one handwritten digit from an image of 8 by 8 pixels with 17 shades of grey.

## Intended use
A teaching example of a model with many classes and one tensor as input. Sorting of forms whose digits are checked
again.

## Out-of-scope use
Money amounts, medicine doses, or any digit nobody checks; letters; images that are not centred.

## Provider and contact
Vallum's examples, version 1.0.0; questions through the issue tracker of the repository.

## Inputs
64 shades of grey from 0 (paper) to 16 (ink), row by row from the upper left.

## How to use
`onnxruntime.InferenceSession("model.onnx").run(None, {{"pixels": images}})` with a float32 array of shape [rows, 64];
the first output is the digit, the second ten probabilities.

## Software
scikit-learn {sklearn}, exported with skl2onnx {skl2onnx}; any runtime for ONNX.

## Model design
Standardised pixels into a network with one hidden layer of 48 units, with an L2 penalty of 3. So small and so much
held back because {members} images do not support more. Optimised for log loss; all confusions cost the same.

## Training
`make.py` in this folder fits the network once with Adam on the training images; the penalty was not searched for.

## Training data
Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0: the
1,797 images that come with scikit-learn, written by 13 people. The writer is not recorded, so the same hand is in all
parts of the split and accuracy for a new hand is lower. Split at random: {members} images to train, {evaluation} to
evaluate, {population} left untouched as population.

## Data preparation
The donors counted black points in blocks of 4 by 4 of a 32 by 32 bitmap. Nothing was removed or changed after that.

## Performance
On the {evaluation} evaluation images: accuracy {accuracy:.3f}; F1, averaged over digits, {f1:.3f}. Accuracy suits ten
classes of equal frequency and equal cost.

## Fairness
Unknown. Nothing is recorded about the writers.

## Robustness and cybersecurity
Every pixel can be changed by who holds the pen, so all count as changeable. The network is not trained against
attacks; the evidence of the check `adversarial_robustness` says what they achieve. It reads numbers only and opens no
files.

## Privacy
Images without names. A writer might recognise a digit; nothing else personal is in them.

## Human oversight
A clerk sees the image beside the answer and overrules it.

## Limitations
13 writers of the nineties, one scanner, very low resolution.

## Risks
Reading amounts without a second look; a wrong digit looks as sure of itself as a right one.

## Monitoring and updates
Watch the frequency of each digit and the share of answers with a probability under one half. First version; changes
come as new versions with new evidence.

## Standards and conformity
None applied. No EU declaration of conformity: this is an example, not a product.
"""


def train(members: pd.DataFrame, features: list[str]) -> Pipeline:
    """Return the fitted pipeline."""
    network = MLPClassifier((48,), alpha=3.0, max_iter=1000, random_state=SEED)
    return make_pipeline(StandardScaler(), network).fit(members[features].to_numpy(np.float32), members[LABEL])


def describe(features: list[str]) -> dict[str, Any]:
    """Return the manifest."""
    pixel = {"type": "integer", "min": 0, "max": 16, "mutable": True}
    return {
        "model": {
            "id": "digits",
            "version": "1.0.0",
            "artifact": "model.onnx",
            "task": "classification",
            "tier": "limited",
            "owner": "vallum-examples",
            "intended_use": "Sorting of forms whose digits are checked again; a teaching example.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": LABEL},
            "members": {"file": "members.parquet"},
            "population": {"file": "population.parquet"},
            "features": {name: dict(pixel) for name in features},
        },
        "card": "card.md",
        "lineage": {
            "code": code_reference(Path(__file__)),
            "datasets": [{"name": "optical-recognition-of-handwritten-digits", "sha256": sha256(Path(str(SOURCE)))}],
        },
    }


def main() -> None:
    """Make every file of the bundle."""
    data = load_digits(as_frame=True)
    features = list(data.data.columns)
    frame = data.data.astype("int64").assign(**{LABEL: data.target.astype("int64")})
    parts = split_frame(frame, SIZES, seed=SEED)
    for name, part in parts.items():
        write_table(part, FOLDER / f"{name}.parquet")
    exported = skl2onnx.to_onnx(
        train(parts["members"], features),
        initial_types=[("pixels", FloatTensorType([None, len(features)]))],
        options={"zipmap": False},
    )
    write_onnx(exported, FOLDER / "model.onnx")
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    answer = session.run(["label"], {"pixels": parts["evaluation"][features].to_numpy(np.float32)})[0]
    truth = parts["evaluation"][LABEL]
    metrics = {"accuracy": accuracy_score(truth, answer), "f1": f1_score(truth, answer, average="macro")}
    credit = {
        "license": "cc-by-4.0",
        "library_name": "onnx",
        "datasets": ["optical-recognition-of-handwritten-digits"],
        "tags": ["digits", "example"],
    }
    body = CARD.format(**SIZES, **metrics, sklearn=sklearn.__version__, skl2onnx=skl2onnx.__version__)
    card = card_text(title="digits 1.0.0", credit=credit, metrics=metrics, body=body)
    write_bundle(FOLDER, describe(features), card=card)


if __name__ == "__main__":
    main()
