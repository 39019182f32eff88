"""CLEAN means that every byte is accounted for: no honest file stays CLEAN with more bytes in, before or behind it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import gguf
import h5py
import joblib
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
import skops.io
import xgboost
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect

from .test_scan_honest import TORCH

TABLE = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
ANSWER = (TABLE[:, 0] > 0).astype(int)


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return written(write)


def tarred(members: Mapping[str, bytes]) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return written(write)


def hdf5() -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with h5py.File(buffer, "w") as file:
            file.attrs["model_config"] = '{"class_name": "Sequential", "config": {"layers": []}}'
            for index in range(12):
                file[f"layers/{index}/weight"] = TABLE

    return written(write)


def gguf_file(folder: Path) -> bytes:
    writer = gguf.GGUFWriter(str(folder / "m.gguf"), "llama")
    writer.add_token_list(["a", "b"])
    writer.add_tensor("x", TABLE)
    writer.add_tensor("y", TABLE.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "m.gguf").read_bytes()


def booster(folder: Path) -> bytes:
    xgboost.XGBClassifier(n_estimators=3).fit(TABLE, ANSWER).save_model(folder / "m.ubj")
    return (folder / "m.ubj").read_bytes()


def parquet() -> bytes:
    table = pyarrow.table({"a": np.arange(500), "b": [str(index % 7) for index in range(500)]})
    return written(lambda buffer: pyarrow.parquet.write_table(table, buffer, row_group_size=100, write_page_index=True))


@cache
def model() -> LogisticRegression:
    return LogisticRegression().fit(TABLE, ANSWER)


FILES: Mapping[str, Callable[[Path], bytes]] = {
    "pickle": lambda _: pickle.dumps(model()),
    "joblib": lambda _: written(lambda buffer: joblib.dump(model(), buffer)),
    "zlib joblib": lambda _: written(lambda buffer: joblib.dump(model(), buffer, compress=3)),
    "skops": lambda _: skops.io.dumps(model()),
    "onnx": lambda _: to_onnx(model(), TABLE[:1]).SerializeToString(),
    "safetensors": lambda _: safetensors.numpy.save({"a": TABLE, "b": ANSWER}, {"format": "pt"}),
    "gguf": gguf_file,
    "hdf5": lambda _: hdf5(),
    "keras": lambda _: zipped(
        {
            "metadata.json": b"{}",
            "config.json": b'{"class_name": "Sequential", "config": {}}',
            "model.weights.h5": hdf5(),
        }
    ),
    "npy": lambda _: written(lambda buffer: np.save(buffer, TABLE)),
    "npz": lambda _: written(lambda buffer: np.savez(buffer, a=TABLE, b=ANSWER)),
    "torch": lambda _: zipped(TORCH),
    "xgboost": booster,
    "parquet": lambda _: parquet(),
    "gzip": lambda _: gzip.compress(b"a,b\n1,2\n" * 50),
    "bzip2": lambda _: bz2.compress(b"a,b\n1,2\n" * 50),
    "xz": lambda _: lzma.compress(b"a,b\n1,2\n" * 50),
    "zlib": lambda _: zlib.compress(b"a,b\n1,2\n" * 50),
    "zip": lambda _: zipped({"a.csv": b"a,b\n1,2\n", "b.npy": written(lambda buffer: np.save(buffer, TABLE))}),
    "tar": lambda _: tarred({"a.csv": b"a,b\n1,2\n", "b.npy": written(lambda buffer: np.save(buffer, TABLE))}),
}
MORE = {
    "a byte": b"\x01",
    "letters": b"payload!",
    "random": bytes(range(256)),
    "a pickle": pickle.dumps({"a": 1}),
    "a zip": zipped({"a.txt": b"x"}),
    "much of nothing": bytes(70_000),
}


def verdict(data: bytes) -> ScanVerdict:
    ledger = Ledger(100)
    inspect(memoryview(data), Context("", 0, ledger, Budget.of(Limits(), len(data)), inspect))
    return ledger.verdict


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    return {name: make(tmp_path_factory.mktemp("files")) for name, make in FILES.items()}


@pytest.mark.parametrize("name", FILES)
def test_honest_file_is_clean(name: str, files: Mapping[str, bytes]) -> None:
    assert verdict(files[name]) is ScanVerdict.CLEAN


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("more", MORE)
def test_bytes_before_or_behind_are_not_clean(name: str, more: str, files: Mapping[str, bytes]) -> None:
    if name in ("pickle", "joblib") and more == "a pickle":
        pytest.skip("a row of harmless pickles is what it looks like, and each of them is followed")
    assert verdict(files[name] + MORE[more]) is not ScanVerdict.CLEAN
    assert verdict(MORE[more] + files[name]) is not ScanVerdict.CLEAN


@pytest.mark.parametrize("name", FILES)
def test_bytes_in_between_are_not_clean(name: str, files: Mapping[str, bytes]) -> None:
    source, data = random.Random(1), files[name]
    # What pads a tar to its end is nothing, however much of it there is.
    last = len(data.rstrip(b"\0")) if name == "tar" else len(data)
    for _ in range(60):
        place = source.randrange(1, last)
        inserted = data[:place] + source.choice([b"\x01", b"payload!", bytes(64)]) + data[place:]
        assert verdict(inserted) is not ScanVerdict.CLEAN, place


@pytest.mark.parametrize("name", FILES)
def test_cut_file_is_not_clean(name: str, files: Mapping[str, bytes]) -> None:
    source, data = random.Random(2), files[name]
    last = len(data.rstrip(b"\0")) if name == "tar" else len(data)
    for _ in range(60):
        length = source.randrange(8, last - 1)
        assert verdict(data[:length]) is not ScanVerdict.CLEAN, length
