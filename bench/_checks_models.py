"""The models and data that `checks.py` and its peers both measure: made the same way twice, from fixed seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Matrix = NDArray[np.float64]
CELLS = tuple((data, model) for data in ("breast-cancer", "digits") for model in ("mlp", "forest"))
ADULT = Path(__file__).parent.parent / "examples" / "data" / "adult.parquet"
ADULT_MODELS = ("mlp", "boosting")
ADULT_NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
ADULT_WORDS = ("workclass", "occupation", "marital_status", "relationship", "race", "sex", "native_country")
ADULT_FIXED = ("marital_status", "relationship", "race", "sex", "native_country")
TARGETS = tuple(
    (data, model) for data in ("synth", "adult") for model in ("forest", "forest leaf>=20", "mlp", "boosting")
)
MEMBERS = 4_000
POPULATION = 16_000


def image_cell(data: str, model: str) -> tuple[object, Matrix, NDArray[np.intp]]:
    """Return a fitted model and the test rows in [0, 1] that it classifies correctly, with their answers."""
    bunch = load_breast_cancer() if data == "breast-cancer" else load_digits()
    matrix = bunch.data - bunch.data.min(axis=0)
    matrix = matrix / np.maximum(matrix.max(axis=0), 1e-12)
    train, test, target, truth = train_test_split(matrix, bunch.target, test_size=0.4, random_state=0)
    fitted = (
        MLPClassifier((64,), max_iter=300, random_state=0)
        if model == "mlp"
        else RandomForestClassifier(100, random_state=0)
    ).fit(train, target)
    answers = fitted.predict(test)
    return fitted, test[answers == truth], answers[answers == truth]


def membership_rows(data: str) -> tuple[Matrix, NDArray[np.intp]]:
    """Return rows with labels of which the first `MEMBERS` are to be trained on."""
    if data == "synth":
        # Noise and width chosen so that the forests are as accurate, in training and after, as published for this task.
        return make_classification(
            MEMBERS + POPULATION, 30, n_informative=15, flip_y=0.1, class_sep=0.8, random_state=0
        )
    table = pd.read_parquet(ADULT)
    table = table.iloc[np.random.default_rng(0).permutation(len(table))[: MEMBERS + POPULATION]]
    truth = (table["income"] == ">50K").to_numpy().astype(np.intp)
    table = table.drop(columns=[name for name in ("income", "split") if name in table])
    words = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    numbers = [name for name in table if name not in words]
    encode = make_column_transformer((OneHotEncoder(sparse_output=False), words), (StandardScaler(), numbers))
    return np.asarray(encode.fit_transform(table)), truth


def membership_target(name: str, matrix: Matrix, truth: NDArray[np.intp]) -> object:
    """Return a model fitted on the members."""
    model = {
        "forest": RandomForestClassifier(100, random_state=0),
        "forest leaf>=20": RandomForestClassifier(100, min_samples_leaf=20, random_state=0),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier((128,), max_iter=200, random_state=0)),
        "boosting": HistGradientBoostingClassifier(max_iter=200, random_state=0),
    }[name]
    return model.fit(matrix[:MEMBERS], truth[:MEMBERS])


def fairness_rows(rows: int = 100_000) -> tuple[dict[str, NDArray[np.str_]], NDArray[np.intp], NDArray[np.intp]]:
    """Return three sensitive columns of 2, 5 and 4 values, true and predicted answers."""
    rng = np.random.default_rng(0)
    columns = {
        "sex": rng.choice(np.array(["f", "m"]), rows, p=[0.33, 0.67]),
        "race": rng.choice(np.array(list("abcde")), rows, p=[0.85, 0.1, 0.03, 0.01, 0.01]),
        "age": rng.choice(np.array(["18-30", "31-45", "46-60", "61+"]), rows),
    }
    truth = (rng.random(rows) < 0.24).astype(np.intp)
    predicted = np.where(rng.random(rows) < 0.85, truth, 1 - truth).astype(np.intp)
    return columns, truth, predicted


def adult_cell(model: str) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    """Return a pipeline fitted on Adult (Becker and Kohavi 1996), rows of its test part, and those it answers right."""
    frame = pd.read_parquet(ADULT).fillna("Unknown")
    columns = [*ADULT_NUMBERS, *ADULT_WORDS]
    training, test = frame[frame["split"] == "train"], frame[frame["split"] != "train"]
    encode = make_column_transformer(
        (OneHotEncoder(sparse_output=False, handle_unknown="ignore"), list(ADULT_WORDS)),
        (StandardScaler(), list(ADULT_NUMBERS)),
    )
    learner = (
        MLPClassifier((64,), max_iter=30, random_state=0)
        if model == "mlp"
        else HistGradientBoostingClassifier(random_state=0)
    )
    fitted = make_pipeline(encode, learner).fit(training[columns], training["income"])
    test = test.sample(2_000, random_state=0).reset_index(drop=True)
    right = fitted.predict(test[columns]) == test["income"]
    return fitted, test[[*columns, "income"]], test[right][columns].reset_index(drop=True)


def adult_features() -> dict[str, dict[str, Any]]:
    """Return how a manifest would describe the inputs of `adult_cell`; five of them nobody can change."""
    frame = pd.read_parquet(ADULT).fillna("Unknown")
    numbers = {
        name: {"type": "integer", "min": int(frame[name].min()), "max": int(frame[name].max())}
        for name in ADULT_NUMBERS
    }
    words = {
        name: {"type": "categorical", "values": sorted(frame[name].unique()), "mutable": name not in ADULT_FIXED}
        for name in ADULT_WORDS
    }
    return {**numbers, **words}
