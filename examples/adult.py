"""The Adult data as every example made from it uses it: one reading, one split, one description of its columns.

All bundles cut the same rows, so that what one model was trained on is never another one's evaluation, and the traffic
is new to all of them. Nothing here trains a model.

Source: Becker and Kohavi 1996, "Adult", UCI Machine Learning Repository, https://doi.org/10.24432/C5XW20, CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import pandas as pd
from bundles import EXAMPLES, sha256, split_frame
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

FILE: Final = EXAMPLES / "data" / "adult.parquet"
LABEL: Final = "income"
FAVOURABLE: Final = "<=50K"
"""The answer that helps: a reduced tariff for people of small income, granted without a tax statement."""
SENSITIVE: Final = ("sex", "race")
SEED: Final = 1996
PARTS: Final = {"training": 20_000, "evaluation": 16_000, "population": 4_000, "traffic": 8_842}
"""Rows of each part; together every row of the file."""
UNKNOWN: Final = "Unknown"
"""What a missing occupation, work class or country reads: people who did not answer are a group, not an error."""
IMMUTABLE: Final = frozenset({"age", "sex", "race", "native_country"})
"""What a person cannot change by deciding to. Everything else can change or be told differently on a form."""
RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "age": (17, 90),
    "education_num": (1, 16),
    "capital_gain": (0, 99_999),
    "capital_loss": (0, 4_356),
    "hours_per_week": (1, 99),
}
"""Smallest and largest value in the file; the largest age and gain stand for everything above."""


def load() -> pd.DataFrame:
    """Return every row, missing answers as `UNKNOWN`, whole numbers as int64."""
    frame = pd.read_parquet(FILE)
    whole = frame.select_dtypes("number").columns
    words = frame.columns.difference(whole)
    return frame.astype(dict.fromkeys(whole, "int64")).fillna(dict.fromkeys(words, UNKNOWN))


def parts() -> dict[str, pd.DataFrame]:
    """Return the split all examples share, by the names in `PARTS`."""
    return split_frame(load(), PARTS, seed=SEED)


def describe_features(names: Sequence[str]) -> dict[str, Any]:
    """Return the section `data.features` of a manifest for these columns, in order."""
    frame = load()
    return {name: _describe(name, frame[name]) for name in names}


def _describe(name: str, column: pd.Series) -> dict[str, Any]:
    mutable = name not in IMMUTABLE
    if name in RANGES:
        low, high = RANGES[name]
        return {"type": "integer", "min": low, "max": high, "mutable": mutable}
    return {"type": "categorical", "values": sorted(column.unique().tolist()), "mutable": mutable}


def dataset_reference() -> dict[str, str]:
    """Return the entry of `lineage.datasets` for the file."""
    return {"name": "adult", "sha256": sha256(FILE)}


def onnx_inputs(names: Sequence[str]) -> list[tuple[str, Any]]:
    """Return one ONNX input per column, shape [rows, 1]: text for words, float for numbers."""
    return [(name, FloatTensorType([None, 1]) if name in RANGES else StringTensorType([None, 1])) for name in names]


def ask_onnx(model: Path, frame: pd.DataFrame, *, names: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an ONNX model's labels and its probability of `FAVOURABLE`, each of shape (rows,).

    Args:
        model: made by skl2onnx with the inputs of `onnx_inputs`, with or without ZipMap.
        frame: holds the columns.
        names: the model's inputs.
    """
    session = onnxruntime.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
    feeds = {name: frame[[name]].to_numpy(np.float32 if name in RANGES else object) for name in names}
    labels, chances = session.run(None, feeds)
    if isinstance(chances, list):
        return labels, np.array([chance[FAVOURABLE] for chance in chances])
    # Classes come in alphabetical order, and "<" sorts before ">".
    return labels, chances[:, 0]


def measure(truth: pd.Series, answer: NDArray[Any], *, score: NDArray[np.float64]) -> dict[str, float]:
    """Return the metrics the cards report, by their Hugging Face names."""
    return {
        "accuracy": float(accuracy_score(truth, answer)),
        "f1": float(f1_score(truth, answer, pos_label=FAVOURABLE)),
        "roc_auc": float(roc_auc_score(truth == FAVOURABLE, score)),
    }


def impact_ratio(frame: pd.DataFrame, favoured: NDArray[np.bool_], *, least_share: float = 0.02) -> float:
    """Return the lowest ratio of two groups' rates of the favourable answer, sex and race crossed.

    Args:
        frame: holds the sensitive columns.
        favoured: whether each row got the answer.
        least_share: groups below this share of the rows are left out; their rates are chance.

    Source: four-fifths rule and the 2 % share, 29 CFR 1607.4(D) and 1607.15(A)(2).
    """
    groups = pd.Series(favoured, index=frame.index).groupby([frame[name] for name in SENSITIVE])
    rates = groups.mean()[groups.size() >= least_share * len(frame)]
    return float(rates.min() / rates.max())


def group_table(frame: pd.DataFrame, answer: NDArray[Any]) -> str:
    """Return a markdown table of what each group of each sensitive column gets, and how often rightly."""
    facts = pd.DataFrame({"favoured": answer == FAVOURABLE, "right": answer == frame[LABEL].to_numpy()}, frame.index)
    lines = ["| group | rows | gets `<=50K` | accuracy |", "| --- | ---: | ---: | ---: |"]
    for column in SENSITIVE:
        for group, rows in facts.groupby(frame[column]):
            lines.append(f"| {group} | {len(rows):,} | {rows['favoured'].mean():.3f} | {rows['right'].mean():.3f} |")
    return "\n".join(lines)
