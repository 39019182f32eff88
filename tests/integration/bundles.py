"""Bundles that nobody made for the examples: small tables and models of many shapes, made while the tests run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import signing
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 600
SEED = 7


def write(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes | pd.DataFrame]) -> Path:
    """Write a bundle; a data frame goes to parquet or csv by its name."""
    folder.mkdir(parents=True)
    (folder / "vallum.yaml").write_text(yaml.safe_dump(dict(manifest), sort_keys=False))
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif name.endswith(".csv"):
            content.to_csv(folder / name, index=False)
        else:
            content.to_parquet(folder / name, index=False)
    return folder


def manifest(model_id: str, artifact: str, features: Mapping[str, Any], label: str, **more: Any) -> dict[str, Any]:
    """A manifest with evaluation, members and population in parquet."""
    model = {"id": model_id, "version": "1.0.0", "artifact": artifact, "tier": "limited", "owner": "tests"}
    data = {
        "evaluation": {"file": "evaluation.parquet", "label": label},
        "members": {"file": "members.parquet"},
        "population": {"file": "population.parquet"},
        "features": dict(features),
    }
    return {"model": model, "data": {**data, **more.pop("data", {})}, **more}


def people(rows: int = ROWS, seed: int = SEED) -> pd.DataFrame:
    """A made-up table of loans with numbers, text, and a sensitive column; the answer is fair."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "income": generator.normal(50, 12, rows).round(1),
            "years": generator.integers(0, 30, rows),
            "owner": generator.choice(["rent", "own", "family"], rows),
            "group": generator.choice(["a", "b"], rows),
        }
    )
    chance = 1 / (1 + np.exp(-(frame["income"] - 50) / 6 - (frame["owner"] == "own") + 0.5))
    frame["repaid"] = np.where(generator.random(rows) < chance, "yes", "no")
    return frame


PEOPLE_FEATURES = {
    "income": {"type": "number", "min": 0, "max": 120},
    "years": {"type": "integer", "min": 0, "max": 40},
    "owner": {"type": "categorical", "values": ["rent", "own", "family"]},
}


def loans(folder: Path, model_id: str, **changes: Any) -> Path:
    """An honest ONNX pipeline with one input per column: text and numbers."""
    frames = {name: people(seed=seed) for seed, name in enumerate(("members", "population", "evaluation"))}
    columns = list(PEOPLE_FEATURES)
    encoder = ColumnTransformer(
        [("text", OneHotEncoder(handle_unknown="ignore"), ["owner"])], remainder=StandardScaler()
    )
    pipeline = make_pipeline(encoder, LogisticRegression(C=0.5))
    train = frames["members"]
    # ONNX's ZipMap takes float32 only, so that is what the columns become.
    table = train[columns].astype({"income": np.float32, "years": np.float32})
    pipeline.fit(table, train["repaid"])
    onnx = to_onnx(pipeline, table[:1], options={"zipmap": True})
    files = {f"{name}.parquet": frame for name, frame in frames.items()}
    document = manifest(model_id, "model.onnx", PEOPLE_FEATURES, "repaid", data={"sensitive": ["group"]})
    document["model"].update(changes.pop("model", {}))
    document.update(changes)
    return write(folder, document, {"model.onnx": onnx.SerializeToString(), **files})


def iris(folder: Path, model_id: str) -> Path:
    """Three classes, one tensor, integer labels, csv data, no members."""
    table, labels = load_iris(return_X_y=True, as_frame=True)
    table.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    forest = RandomForestClassifier(20, max_depth=3, random_state=SEED).fit(table.to_numpy(), labels)
    onnx = to_onnx(forest, table.to_numpy(np.float32)[:1], options={"zipmap": False})
    features = {name: {"type": "number", "min": 0, "max": 10} for name in table}
    document = manifest(model_id, "model.onnx", features, "species")
    document["data"] = {"evaluation": {"file": "evaluation.csv", "label": "species"}, "features": features}
    return write(
        folder, document, {"model.onnx": onnx.SerializeToString(), "evaluation.csv": table.assign(species=labels)}
    )


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({str(self.path)!r}, 'w').close()",))


def signed_for_another(folder: Path) -> Path:
    """Put a signature into a bundle that a publisher made over another model."""
    other = folder.parent / "another-model.onnx"
    other.write_bytes(b"another model")
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder.parent / "key.pem").write_bytes(pem)
    signer = signing.Config().use_elliptic_key_signer(private_key=folder.parent / "key.pem")
    signer.sign(other, folder / "model.sig")
    with (folder / "vallum.yaml").open("a") as manifest:
        manifest.write("signature: model.sig\n")
    return folder


def hostile(folder: Path, model_id: str, marker: Path) -> Path:
    """A pickle that makes a file when it is loaded."""
    document = {"model": {"id": model_id, "version": "1.0.0", "artifact": "model.pkl", "owner": "eve"}}
    return write(folder, document, {"model.pkl": pickle.dumps(_Touch(marker))})
