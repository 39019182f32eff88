"""The same credential in every place where a format keeps text: each is found and told with its place.

Where the content is large, the place lies between arrays, which are not searched.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import h5py
import joblib
import lightgbm
import lz4.frame
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
import skops.io
import xgboost
import zstandard
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_file

from .test_scan_formats import field
from .test_scan_honest import TORCH

# Put together here, so that this file does not hold what it looks for.
TOKEN = "gh" + "p_" + ("a1B2c3D4e5F6g7H8i9J0" * 2)[:36]
HARMLESS = "a text of as many letters as it, nothing"
WEIGHTS = np.random.default_rng(0).normal(size=1 << 18)
"""2 MiB: with any of it content is no longer searched whole."""
TABLE = np.random.default_rng(1).normal(size=(60, 3))
ANSWER = (TABLE[:, 0] > 0).astype(int)

Build = Callable[[str, Path], bytes]


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def saved(write: Callable[[Path], object], folder: Path, name: str) -> bytes:
    write(folder / name)
    return (folder / name).read_bytes()


def dumped(value: Any, **options: Any) -> bytes:
    return written(lambda buffer: joblib.dump(value, buffer, **options))


def npy(value: Any) -> bytes:
    return written(lambda buffer: np.save(buffer, value, allow_pickle=True))


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return written(write)


def tarred(content: bytes) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            info = tarfile.TarInfo("notes.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

    return written(write)


def torch_zip(**members: bytes) -> bytes:
    return zipped({**TORCH, **{f"archive/{name}": content for name, content in members.items()}})


def sized(text: str, width: int) -> bytes:
    return len(text).to_bytes(width, "little") + text.encode()


def noted(text: str) -> LogisticRegression:
    model = LogisticRegression().fit(TABLE, ANSWER)
    model.note_ = text
    return model


def fast(value: Any, protocol: int) -> bytes:
    """Without notes in the memo: what follows the text is the next opcode, which is a letter."""

    def write(buffer: io.BytesIO) -> None:
        pickler = pickle.Pickler(buffer, protocol)
        pickler.fast = True
        pickler.dump(value)

    return written(write)


def onnx_model(
    *, tensors: tuple[TensorProto, ...] = (), doc: str = "", attribute: str = "", **properties: str
) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1])
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=[attribute, "b", "c"])
    graph = helper.make_graph([node], "g", [value], [value], list(tensors), doc_string=doc)
    model = helper.make_model(graph)
    helper.set_model_props(model, properties)
    return bytes(model.SerializeToString())


def texts_tensor(text: str) -> TensorProto:
    return helper.make_tensor("names", TensorProto.STRING, [3], [text.encode(), b"b", b"c"])


def weights() -> tuple[TensorProto, ...]:
    return (numpy_helper.from_array(WEIGHTS, "v"), numpy_helper.from_array(WEIGHTS, "w"))


def hdf5(write: Callable[[h5py.File], object], *, large: bool = False) -> bytes:
    def fill(buffer: io.BytesIO) -> None:
        with h5py.File(buffer, "w") as file:
            if large:
                file["before"] = WEIGHTS
            write(file)
            if large:
                file["behind"] = WEIGHTS

    return written(fill)


def gguf_file(text: str, folder: Path) -> bytes:
    writer = gguf.GGUFWriter(str(folder / "m.gguf"), "llama")
    writer.add_description(text)
    writer.add_token_list([f"word {index}" for index in range(1000)])
    writer.add_tensor("w", np.concatenate([WEIGHTS, WEIGHTS]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "m.gguf").read_bytes()


def gguf_tokens(text: str, folder: Path) -> bytes:
    writer = gguf.GGUFWriter(str(folder / "m.gguf"), "llama")
    writer.add_token_list(["a", text, "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "m.gguf").read_bytes()


def boosted(text: str) -> xgboost.Booster:
    model = xgboost.train({}, xgboost.DMatrix(TABLE, ANSWER), 2)
    model.set_attr(note=text)
    return model


def categories(text: str) -> bytes:
    import pandas as pd

    kinds = pd.Categorical([text, "other"] * 100)
    frame = pd.DataFrame({"kind": kinds, "x": np.arange(200.0)})
    options = {"verbose": -1, "min_data_in_leaf": 1, "min_data_per_group": 1}
    model = lightgbm.train(options, lightgbm.Dataset(frame, np.arange(200) % 2), 2)
    return str(model.model_to_string()).encode()


def saved_object(text: str) -> bytes:
    content = field(3, b"root") + field(4, b"_tf_keras_layer") + field(5, json.dumps({"note": text}).encode())
    return field(1, b"\x10\x01" + content)


def saved_model(text: str) -> bytes:
    constant = field(1, b"n") + field(2, b"Const") + field(5, WEIGHTS.tobytes()) + field(5, field(1, text.encode()))
    return b"\x08\x01" + field(2, field(2, field(2, field(1, constant))))


def pieces(text: str) -> bytes:
    return b"".join(field(1, field(1, piece.encode()) + b"\x15" + bytes(4)) for piece in ["<s>", text, "</s>"] * 20_000)


def tflite(text: str) -> bytes:
    """A root with a version, a description behind everything, and one buffer of numbers."""
    root = struct.pack("<7H2x", 14, 16, 4, 0, 0, 8, 12) + struct.pack("<iIII", 16, 3, 32 + WEIGHTS.nbytes + 4, 4)
    table = struct.pack("<II", 1, 12) + struct.pack("<3H2x", 6, 8, 4) + struct.pack("<iI", 8, 4)
    content = struct.pack("<I", WEIGHTS.nbytes) + WEIGHTS.tobytes()
    return struct.pack("<I4s", 24, b"TFL3") + root + table + content + sized(text, 4) + b"\0"


def table_of(text: str) -> bytes:
    table = pyarrow.table({"a": [text, "b", "c"]})
    return written(lambda buffer: pyarrow.parquet.write_table(table, buffer, compression="none"))


def keras(text: str) -> bytes:
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": text, "layers": []}}
    return zipped({"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


def objects(text: str) -> Any:
    return np.array([text, None, {"a": 1}], dtype=object)


def equals(text: str) -> list[str]:
    """Texts of one length: in an array of them nothing stands between one and the next."""
    return [text, "x" * len(text), "y" * len(text)]


def many(text: str, kind: str) -> Any:
    """An array of texts of more than 64 KiB."""
    return np.array(["z" * len(text)] * 4000 + [text] + ["y" * len(text)] * 4000).astype(f"{kind}{len(text)}")


PLACES: Mapping[str, tuple[str, Build]] = {
    # name of the place: member that must be told, and what builds it
    **{
        f"pickle protocol {protocol}": ("", lambda text, _, protocol=protocol: pickle.dumps({"t": text}, protocol))
        for protocol in range(6)
    },
    **{
        f"pickle protocol {protocol} without memo": ("", lambda text, _, protocol=protocol: fast({"t": text}, protocol))
        for protocol in range(6)
    },
    **{
        f"pickled bytes, protocol {protocol}": (
            "",
            lambda text, _, protocol=protocol: pickle.dumps([text.encode()], protocol),
        )
        for protocol in range(6)
    },
    **{
        f"array of {order}U in pickle protocol {protocol}": (
            "",
            lambda text, _, protocol=protocol, order=order: pickle.dumps(
                np.array(equals(text)).astype(f"{order}U{len(text)}"), protocol
            ),
        )
        for protocol in range(6)
        for order in "<>"
    },
    "pickled text of 64-bit length": ("", lambda text, _: b"\x80\x04\x8d" + sized(text, 8) + b"."),
    "pickled text of Python 2": ("", lambda text, _: b"T" + sized(text, 4) + b"."),
    "pickled line of text": ("", lambda text, _: f"(dp0\nV{text}\np1\nI1\ns.".encode()),
    "pickled byte array": ("", lambda text, _: pickle.dumps(bytearray(text.encode()), 5)),
    "pickled text of 200 kB between arrays": (
        "",
        lambda text, _: pickle.dumps([WEIGHTS, "word " * 20_000 + text + " word" * 20_000, WEIGHTS + 1]),
    ),
    "pickled array of text between arrays": (
        "",
        lambda text, _: pickle.dumps([WEIGHTS, many(text, "<U"), WEIGHTS + 1]),
    ),
    "pickled array of bytes": ("", lambda text, _: pickle.dumps(np.array(equals(text)).astype("S"))),
    "pickled object array": ("", lambda text, _: pickle.dumps(objects(text))),
    "joblib": ("", lambda text, _: dumped({"t": text})),
    "joblib array of <U": ("", lambda text, _: dumped(np.array(equals(text)))),
    "joblib array of >U": (
        "",
        lambda text, _: dumped(np.array(equals(text)).astype(f">U{len(text)}")),
    ),
    "joblib array of S between arrays": (
        "",
        lambda text, _: dumped([WEIGHTS, many(text, "S"), WEIGHTS + 1]),
    ),
    "joblib object array": ("", lambda text, _: dumped(objects(text))),
    "joblib packed": ("zlib", lambda text, _: dumped(np.array(equals(text)), compress=3)),
    "npy <U": ("", lambda text, _: npy(np.array(equals(text)))),
    "npy >U": ("", lambda text, _: npy(np.array(equals(text)).astype(f">U{len(text)}"))),
    "npy S": ("", lambda text, _: npy(np.array(equals(text)).astype("S"))),
    "npy large": ("", lambda text, _: npy(np.array(["z" * 40] * 20_000 + [text] * 2))),
    "npy objects": ("", lambda text, _: npy(objects(text))),
    "npy records": (
        "",
        lambda text, _: npy(np.array([(1, text)], [("a", "<i4"), ("b", "<U40")])),
    ),
    "npz": ("b.npy", lambda text, _: written(lambda buffer: np.savez(buffer, a=WEIGHTS, b=np.array(text)))),
    "npz packed": (
        "b.npy",
        lambda text, _: written(lambda buffer: np.savez_compressed(buffer, a=TABLE, b=np.array(text))),
    ),
    "torch data.pkl": ("archive/data.pkl", lambda text, _: torch_zip(**{"data.pkl": pickle.dumps({"t": text}, 2)})),
    "torch member": ("archive/extra/notes", lambda text, _: torch_zip(**{"extra/notes": text.encode()})),
    "TorchScript code": (
        "archive/code/__torch__.py",
        lambda text, _: torch_zip(**{
            "constants.pkl": pickle.dumps((), 2), "code/__torch__.py": f"op_version_set = 1\n# {text}\n".encode()
        }),
    ),
    "TorchScript constants": (
        "archive/constants.pkl", lambda text, _: torch_zip(**{"constants.pkl": pickle.dumps((text,), 2)})
    ),
    "skops schema": ("schema.json", lambda text, _: skops.io.dumps(noted(text))),
    "skops array": ("*.npy", lambda text, _: skops.io.dumps(noted(np.array(equals(text))))),
    "ONNX property": ("", lambda text, _: onnx_model(hub=text)),
    "ONNX property between tensors": ("", lambda text, _: onnx_model(tensors=weights(), hub=text)),
    "ONNX doc string": ("", lambda text, _: onnx_model(tensors=weights(), doc=text)),
    "ONNX attribute": ("", lambda text, _: onnx_model(attribute=text)),
    "ONNX string tensor": ("", lambda text, _: onnx_model(tensors=(texts_tensor(text),))),
    "ONNX string tensor between tensors": (
        "", lambda text, _: onnx_model(tensors=(*weights()[:1], texts_tensor(text), *weights()[1:]))
    ),
    "HDF5 attribute": ("", lambda text, _: hdf5(lambda file: file.attrs.__setitem__("a", text))),
    "HDF5 attribute between arrays": (
        "", lambda text, _: hdf5(lambda file: file.create_group("g").attrs.__setitem__("a", text), large=True)
    ),
    "HDF5 fixed attribute": ("", lambda text, _: hdf5(lambda file: file.attrs.__setitem__("a", np.bytes_(text)))),
    "HDF5 UTF-16": (
        "",
        lambda text, _: hdf5(lambda file: file.attrs.__setitem__("a", np.void(text.encode("utf-16-le"))), large=True),
    ),
    "HDF5 texts": (
        "", lambda text, _: hdf5(lambda file: file.create_dataset("a", data=[text, "b"], dtype=h5py.string_dtype()))
    ),
    "HDF5 texts between arrays": (
        "",
        lambda text, _: hdf5(
            lambda file: file.create_dataset("a", data=[text, "b"], dtype=h5py.string_dtype()), large=True
        ),
    ),
    "HDF5 fixed texts": (
        "",
        lambda text, _: hdf5(lambda file: file.create_dataset("a", data=np.array(equals(text), "S")), large=True),
    ),
    "safetensors": ("", lambda text, _: safetensors.numpy.save({"w": TABLE}, {"note": text})),
    "safetensors large": (
        "", lambda text, _: safetensors.numpy.save({"v": WEIGHTS, "w": WEIGHTS}, {"a": "b " * 200_000, "note": text})
    ),
    "GGUF": ("", gguf_file),
    "GGUF tokens": ("", gguf_tokens),
    "Keras configuration": ("config.json", lambda text, _: keras(text)),
    "Keras metadata": ("", lambda text, _: saved_object(text)),
    "SavedModel": ("", lambda text, _: saved_model(text)),
    "SentencePiece": ("", lambda text, _: pieces(text)),
    "TFLite": ("", lambda text, _: tflite(text)),
    "Parquet": ("", lambda text, _: table_of(text)),
    "XGBoost UBJ": ("", lambda text, folder: saved(boosted(text).save_model, folder, "m.ubj")),
    "XGBoost JSON": ("", lambda text, folder: saved(boosted(text).save_model, folder, "m.json")),
    "LightGBM categories": ("", lambda text, _: categories(text)),
    "JSON": ("", lambda text, _: json.dumps({"a": text}).encode()),
    "XML": ("", lambda text, _: f'<PMML version="4.4"><Header copyright="{text}"/></PMML>'.encode()),
    "text": ("", lambda text, _: f"see {text}\n".encode()),
    "text in UTF-16": ("", lambda text, _: f"see {text}\n".encode("utf-16")),
    "zip": ("a.txt", lambda text, _: zipped({"a.txt": text.encode()})),
    "zip packed": ("a.txt", lambda text, _: zipped({"a.txt": text.encode()}, zipfile.ZIP_DEFLATED)),
    "zip in a zip": ("b.zip!/a.txt", lambda text, _: zipped({"b.zip": zipped({"a.txt": text.encode()})})),
    "tar": ("notes.txt", lambda text, _: tarred(text.encode())),
    "gzip": ("gzip", lambda text, _: gzip.compress(text.encode())),
    "bzip2": ("bzip2", lambda text, _: bz2.compress(text.encode())),
    "xz": ("xz", lambda text, _: lzma.compress(text.encode())),
    "zlib": ("zlib", lambda text, _: zlib.compress(text.encode())),
    "lz4": ("lz4", lambda text, _: lz4.frame.compress(text.encode())),
    "zstd": ("zstd", lambda text, _: zstandard.compress(text.encode())),
}  # fmt: skip


def scan(name: str, text: str, folder: Path) -> tuple[bytes, FileReport]:
    data = PLACES[name][1](text, folder)
    (folder / "file").write_bytes(data)
    return data, scan_file(folder / "file")


@pytest.mark.parametrize("name", PLACES)
def test_credential_is_found_with_its_place(name: str, tmp_path: Path) -> None:
    data, report = scan(name, TOKEN, tmp_path)
    found = [finding for finding in report.findings if finding.rule == "secret.found"]
    assert len(found) == 1, report
    assert found[0].message == "holds what looks like a GitHub token"
    member = PLACES[name][0]
    assert found[0].member == member or (member == "*.npy" and found[0].member.endswith(".npy"))
    assert found[0].offset is not None
    assert report.verdict is ScanVerdict.UNKNOWN
    if not member:
        begin = data[found[0].offset :].replace(b"\0", b"").replace(b"\\u0000", b"")
        makes_array = name.startswith("array of")
        assert begin.startswith(TOKEN.encode()) or (makes_array and begin[:1] in (b"b", b"R")), begin[:50]


@pytest.mark.parametrize("name", PLACES)
def test_other_text_in_the_same_place_is_nothing(name: str, tmp_path: Path) -> None:
    _, report = scan(name, HARMLESS, tmp_path)
    assert not [finding for finding in report.findings if finding.rule == "secret.found"]
