"""What every example does alike: write tables, cards and manifests so that the same script always makes the same bytes.

Each `make.py` trains its own model and says what it is; nothing here knows a model or a data set. A file that differs
from run to run would make a digest, and with it a signed verdict, worthless, so everything with a clock or an address
in it is written by these functions.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import skops.io
import yaml

from vallum_common.bundle import MANIFEST_NAME, open_bundle

EXAMPLES: Final = Path(__file__).resolve().parent
"""The folder of all bundles."""
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_KEYS_ON_A_LINE: Final = 5


class _Dumper(yaml.SafeDumper):
    """Writes a feature, a file or a metric on one line and everything above it as a block, as a person would."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = len(node.value) <= _KEYS_ON_A_LINE and not any(_is_nested(value) for _, value in node.value)
        return node


def _is_nested(node: yaml.Node) -> bool:
    """Whether a value is a mapping or a list that holds one."""
    if isinstance(node, yaml.SequenceNode):
        return any(isinstance(item, yaml.CollectionNode) for item in node.value)
    return isinstance(node, yaml.MappingNode)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a data frame as parquet: the same rows always give the same bytes.

    Args:
        frame: rows in the order to keep; its index is dropped.
        path: where to.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd")


def write_skops(model: object, path: Path) -> None:
    """Write an estimator in the skops format: the same estimator always gives the same bytes.

    skops names objects and arrays by their memory address and stamps them with the time of day; both are replaced,
    addresses by their rank of appearance, so that only the model decides the digest.
    """
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as source:
        schema = json.loads(source.read("schema.json"))
        ranks = _rank_addresses(schema)
        members = {ranks.get(name, name): source.read(name) for name in source.namelist() if name != "schema.json"}
    members["schema.json"] = json.dumps(schema, indent=2).encode()
    with zipfile.ZipFile(path, "w") as target:
        for name in sorted(members):
            target.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), members[name])


def _rank_addresses(schema: dict[str, Any]) -> dict[str, str]:
    """Replace the addresses in a skops schema, in place; return the new names of its array files by their old ones."""
    ranks: dict[int, int] = {}
    files: dict[str, str] = {}
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "__id__" in node:
                node["__id__"] = ranks.setdefault(node["__id__"], len(ranks))
            if "file" in node:
                node["file"] = files.setdefault(node["file"], f"array-{len(files):04d}{Path(node['file']).suffix}")
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return files


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write an ONNX model: the same graph always gives the same bytes.

    skl2onnx lists the operator sets in the order of a Python set, which differs from process to process.
    """
    model.opset_import.sort(key=lambda operator_set: operator_set.domain)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_bundle(folder: Path, manifest: Mapping[str, Any], *, card: str) -> None:
    """Write the card and the manifest beside the files already in a folder, and open the bundle as a submitter would.

    Args:
        folder: holds the artefact and the tables.
        manifest: the content of `vallum.yaml`.
        card: the text of `card.md`.

    Raises:
        Invalid: the manifest is not right or names a file that is not there.
    """
    (folder / "card.md").write_text(card, encoding="utf-8")
    text = yaml.dump(dict(manifest), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)
    (folder / MANIFEST_NAME).write_text("# Made by make.py in this folder.\n" + text, encoding="utf-8")
    with open_bundle(folder) as bundle:
        print(f"{bundle.manifest.name}: {bundle.manifest.model.artifact} sha256:{bundle.files[0].sha256}")


def card_text(*, title: str, credit: Mapping[str, object], metrics: Mapping[str, float], body: str) -> str:
    """Return a model card: Hugging Face front matter with the metrics as reported, then the prose.

    Args:
        title: name and version of the model.
        credit: further keys of the front matter: `license`, `library_name`, `datasets`, `tags` and so on.
        metrics: Hugging Face metric name to its value on the evaluation table, rounded here to four digits.
        body: markdown after the title.

    Source: Hugging Face Hub, "Model Cards", section "Evaluation Results" (`model-index`).
    """
    results = {
        "task": {"type": "tabular-classification"},
        "dataset": {"type": "evaluation.parquet", "name": "the evaluation rows of this bundle", "split": "evaluation"},
        "metrics": [{"type": name, "value": round(float(value), 4)} for name, value in metrics.items()],
    }
    front = {
        "language": "en",
        "pipeline_tag": "tabular-classification",
        **credit,
        "metrics": list(metrics),
        "model-index": [{"name": title, "results": [results]}],
    }
    head = yaml.dump(front, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)
    return f"---\n{head}---\n\n# {title}\n\n{body.strip()}\n"


def observed_range(column: pd.Series) -> dict[str, float]:
    """Return `min` and `max` of a measured quantity, rounded outward to three significant digits."""
    low, high = float(column.min()), float(column.max())
    step = 10.0 ** (np.floor(np.log10(max(abs(low), abs(high)))) - 2)
    return {"min": float(f"{np.floor(low / step) * step:.6g}"), "max": float(f"{np.ceil(high / step) * step:.6g}")}


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def code_reference(script: Path) -> str:
    """Return the lineage of a script as git names its content (`git hash-object`): `git:` and 40 hex digits."""
    content = script.read_bytes()
    return "git:" + hashlib.sha1(b"blob %d\x00" % len(content) + content, usedforsecurity=False).hexdigest()


def split_frame(frame: pd.DataFrame, sizes: Mapping[str, int], *, seed: int) -> dict[str, pd.DataFrame]:
    """Return disjoint random parts of a table by name, each in the table's order.

    Args:
        frame: all rows.
        sizes: rows of each part, at most as many as there are in all.
        seed: of the one permutation the parts are cut from.
    """
    order = np.random.default_rng(seed).permutation(len(frame))[: sum(sizes.values())]
    cuts = np.cumsum(list(sizes.values()))[:-1]
    return {name: frame.iloc[np.sort(rows)] for name, rows in zip(sizes, np.split(order, cuts), strict=True)}
