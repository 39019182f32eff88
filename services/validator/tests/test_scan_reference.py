"""The second reading: honest files are read alike by both parsers, and every other answer costs the file its CLEAN."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import h5py
import numpy as np
import onnx
import pytest
import safetensors.numpy
import skops.io
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier

from vallum_common.errors import Unavailable
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.sandbox import child, process
from vallum_validator.sandbox.isolation import FULL_LANDLOCK_ABI, kernel_landlock_abi
from vallum_validator.scan import reference, scan_file
from vallum_validator.scan.reference import second_reading

pytestmark = pytest.mark.skipif(
    kernel_landlock_abi() < FULL_LANDLOCK_ABI, reason="the reference parsers run in full isolation or not at all"
)

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2}}
MODEL = {"module": "keras", "class_name": "Sequential", "config": {"layers": [DENSE]}}


def hdf5_bytes() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(MODEL)
        file.attrs["layer_names"] = np.array([b"dense", b"dense_1"])
        for name in ("dense", "dense_1"):
            file.create_dataset(f"layers/{name}/vars/0", data=np.arange(12.0).reshape(3, 4))
        file.create_dataset("packed", data=np.arange(1000), chunks=(100,), compression="gzip", shuffle=True)
        file["again"] = h5py.SoftLink("/packed")
    return buffer.getvalue()


def write_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_token_list(["a", "b"])
    writer.add_tensor("x", np.zeros((32, 64), np.float32))
    writer.add_tensor("y", np.ones(7, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_onnx(path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    then = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "then", [], [_value("r")])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then),
    ]
    graph = helper.make_graph(nodes, "g", [_value("x")], [_value("y")], [weight])
    onnx.save(helper.make_model(graph), path)


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2])


def write_skops(path: Path) -> None:
    random = np.random.default_rng(0).normal(size=(20, 3))
    skops.io.dump(RandomForestClassifier(2).fit(random, random[:, 0] > 0), path)


def write_keras(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", b"{}")
        archive.writestr("config.json", json.dumps(MODEL))
        archive.writestr("model.weights.h5", hdf5_bytes())


HONEST: Mapping[str, Callable[[Path], object]] = {
    "model.safetensors": lambda path: safetensors.numpy.save_file(
        {"a": np.zeros((3, 4), np.float32), "b": np.ones(5, np.int64)}, path, metadata={"format": "pt"}
    ),
    "model.onnx": write_onnx,
    "model.skops": write_skops,
    "model.gguf": write_gguf,
    "model.h5": lambda path: path.write_bytes(hdf5_bytes()),
    "model.keras": write_keras,
}


@pytest.mark.parametrize("name", HONEST)
def test_both_readings_of_an_honest_file_agree(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    HONEST[name](path)
    report = scan_file(path)
    assert (report.verdict, report.findings) == (ScanVerdict.CLEAN, ())
    assert second_reading(path, report.format) == ()


def rules(path: Path, form: str) -> list[str]:
    return [finding.rule for finding in second_reading(path, form)]


def test_format_without_a_reference_parser_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(1))
    assert rules(tmp_path / "model.pkl", "pickle") == []


def test_what_the_reference_parser_refuses_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    node = helper.make_node("Relu", ["missing"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [_value("y")])), path)
    report = scan_file(path)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert [finding.rule for finding in report.findings] == ["reference.refused"]
    assert report.findings == second_reading(path, "onnx")


@pytest.mark.parametrize(
    ("extra", "told"),
    [({"tensor z F32 [1]"}, "does not find 'tensor z F32 [1]'"), (set(), "it finds 'metadata format'")],
)
def test_different_readings_are_a_disagreement(
    extra: set[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    HONEST[path.name](path)
    honest = reference.READINGS["safetensors"].ours
    found = reference.Reading(lambda data: {*honest(data), *extra} if extra else set())
    monkeypatch.setitem(reference.READINGS, "safetensors", found)  # type: ignore[arg-type]
    (finding,) = second_reading(path, "safetensors")
    assert finding.rule == "reference.disagrees"
    assert told in finding.message


def worker_running(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_COMMAND", (sys.executable, "-I", "-B", "-c", program))


def test_parser_that_breaks_on_the_file_has_crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(path)
    worker_running(
        "import os\nfrom vallum_validator.sandbox.program import answer, reference\n"
        "reference.read = lambda *_: os._exit(7)\nanswer.main()",
        monkeypatch,
    )
    (finding,) = second_reading(path, "onnx")
    assert finding.rule == "reference.crashed"
    assert "ended by itself with code 7: what its own library breaks on, nobody should load" in finding.message


def test_parser_that_does_not_start_is_not_held_against_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an environment reaches its packages through another folder; the file still is not CLEAN."""
    path = tmp_path / "model.onnx"
    write_onnx(path)
    worker_running("raise SystemExit(1)", monkeypatch)
    (finding,) = second_reading(path, "onnx")
    assert finding.rule == "reference.unavailable"
    assert f"code 1, before it was given the file; it may read the interpreter and {sys.prefix!r}" in finding.message
    assert scan_file(path).verdict is ScanVerdict.UNKNOWN


def test_parser_that_cannot_be_confined_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(path)

    class Refused:
        def __init__(self, *_: object, **__: object) -> None:
            raise Unavailable("this kernel has Landlock ABI 0")

    monkeypatch.setattr(process, "Worker", Refused)
    assert rules(path, "onnx") == ["reference.unavailable"]
    assert rules(tmp_path / "missing.onnx", "onnx") == ["reference.unavailable"]


def test_link_to_another_file_is_named_by_both_and_followed_by_neither(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["weights"] = [1.0]
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["out"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/weights")
    assert scan_file(tmp_path / "model.h5").verdict is ScanVerdict.MALICIOUS
    assert rules(tmp_path / "model.h5", "hdf5") == []
