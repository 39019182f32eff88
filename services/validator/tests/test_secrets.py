"""Credentials are found wherever an artefact keeps text, never repeated, and never seen in weights."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import h5py
import joblib
import numpy as np
import onnx
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vallum_validator.domain.findings import FileReport, Finding, ScanVerdict
from vallum_validator.scan import scan_file
from vallum_validator.scan.context import Budget, Context, Ledger, Limits
from vallum_validator.scan.dispatch import inspect

LETTERS = "a1B2c3D4e5F6g7H8i9J0"
HEX = "0123456789abcdef" * 5
UPPER = "ABCDEFGH234567JK"

# Put together here, so that this file does not hold what it looks for.
TOKENS: Mapping[str, str] = {
    "AWS access key": "AK" + "IA" + UPPER,
    "Google key": "AI" + "za" + (LETTERS * 2)[:35],
    "Google client secret": "GOC" + "SPX-" + (LETTERS * 2)[:28],
    "Google access token": "ya" + "29." + (LETTERS * 3)[:45],
    "GitHub token": "gh" + "p_" + (LETTERS * 2)[:36],
    "GitLab token": "gl" + "pat-" + LETTERS,
    "Hugging Face token": "h" + "f_" + (LETTERS * 2)[:34],
    "OpenAI key": "s" + "k-proj-" + LETTERS * 2 + "T3Blbk" + "FJ" + LETTERS * 2,
    "Anthropic key": "sk-" + "ant-api03-" + LETTERS * 4 + "AbCdEf",
    "OpenRouter key": "sk-" + "or-v1-" + HEX[:64],
    "Replicate token": "r" + "8_" + (LETTERS * 2)[:37],
    "Groq key": "gs" + "k_" + (LETTERS * 3)[:52],
    "Databricks token": "da" + "pi" + HEX[:32],
    "Slack token": "xo" + "xb-123456789012-" + LETTERS,
    "Stripe key": "sk_" + "live_" + LETTERS * 2,
    "Twilio key": "S" + "K" + HEX[:32],
    "SendGrid key": "S" + "G." + (LETTERS * 2)[:22] + "." + (LETTERS * 3)[:43],
    "npm token": "np" + "m_" + (LETTERS * 2)[:36],
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" + LETTERS * 3,
    "JSON web token": "ey" + "JhbGciOiJIUzI1NiJ9." + "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + LETTERS * 2,
}
PHRASES: Mapping[str, str] = {
    "AWS secret key": 'aws_secret_access_key = "' + (LETTERS * 2) + '"',
    "Azure storage key": "DefaultEndpointsProtocol=https;AccountName=x;Account" + "Key=" + (LETTERS * 5)[:86] + "==",
    "Azure shared access signature": "https://x.blob.core.windows.net/a?sv=2024&" + "sig=" + (LETTERS * 3)[:43] + "%3D",
    "Google service account key": '{"type": "service_account", "private_' + 'key_id": "' + HEX[:40] + '"}',
    "Cohere key": "COHERE_API_" + "KEY=" + LETTERS * 2,
    "Weights & Biases key": "WANDB_API_" + "KEY: " + HEX[:40],
    "Slack webhook": "https://hooks." + "slack.com/services/T0ABCDEFG/B0ABCDEFG/" + LETTERS,
    "password in an address": "postgresql://" + "reader:Xy7!kq@db.internal:5432/models",
    "private key": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nb3Blbn",
}
ALL = {**TOKENS, **PHRASES}


def kinds(report: FileReport) -> set[str]:
    return {re.split(" looks like an? ", f.message)[1] for f in report.findings if f.rule == "secret.found"}


@pytest.mark.parametrize("said", ["an AWS access key", "a GitHub token", "an npm token"])
def test_kind_is_told_in_words(said: str, tmp_path: Path) -> None:
    (finding,) = scan(tmp_path, TOKENS[said.partition(" ")[2]].encode()).findings
    assert finding.message == f"holds what looks like {said}"


def scan(tmp_path: Path, data: bytes, name: str = "card.md") -> FileReport:
    (tmp_path / name).write_bytes(data)
    return scan_file(tmp_path / name)


@pytest.mark.parametrize("kind", ALL)
def test_credential_in_text_costs_the_file_its_clean_and_is_not_repeated(kind: str, tmp_path: Path) -> None:
    report = scan(tmp_path, f"Use this: {ALL[kind]}\n".encode())
    assert report.verdict is ScanVerdict.UNKNOWN
    assert kinds(report) == {kind}
    assert all(ALL[kind][8:20] not in finding.message for finding in report.findings)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", TOKENS)
def test_credential_in_a_pickle_is_found_whatever_its_length(kind: str, protocol: int, tmp_path: Path) -> None:
    """The byte before a text is its length, and the one behind it an opcode: both may be letters."""
    data = pickle.dumps({"token": TOKENS[kind]}, protocol)
    assert kinds(scan(tmp_path, data, "model.pkl")) == {kind}


TOKEN = TOKENS["Hugging Face token"]
WEIGHTS = np.random.default_rng(0).normal(size=1 << 19).astype(np.float64)
"""4 MiB, more than is searched whole."""


def _onnx(path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1])
    weight = numpy_helper.from_array(WEIGHTS, "w")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value], [weight, weight])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"hub": TOKEN})
    onnx.save(model, path)


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["before"] = WEIGHTS
        file["middle"] = [1.0]
        file["middle"].attrs["hub"] = TOKEN
        file["after"] = WEIGHTS


def _gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_token_list([f"token {index} of the vocabulary" for index in range(40_000)])
    writer.add_description(TOKEN)
    writer.add_token_scores([0.0] * 200_000)
    writer.add_tensor("w", WEIGHTS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _safetensors(path: Path) -> None:
    names = {f"layer.{index}": np.zeros(1, np.float32) for index in range(6_000)}
    safetensors.numpy.save_file({"w": WEIGHTS, **names}, path, {"a": "b" * 300_000, "hub": TOKEN, "c": "d" * 300_000})


def _npz(path: Path) -> None:
    np.savez(path, weights=WEIGHTS, note=np.array(TOKEN.encode()))


BETWEEN: Mapping[str, Callable[[Path], object]] = {
    "model.pkl": lambda path: path.write_bytes(pickle.dumps([WEIGHTS, TOKEN, WEIGHTS + 1])),
    "model.joblib": lambda path: joblib.dump([WEIGHTS, TOKEN, WEIGHTS + 1], path),
    "packed.joblib": lambda path: joblib.dump([WEIGHTS, TOKEN, WEIGHTS + 1], path, compress=1),
    "model.onnx": _onnx,
    "model.h5": _hdf5,
    "model.gguf": _gguf,
    "model.safetensors": _safetensors,
    "arrays.npz": _npz,
    "config.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps({"hub": TOKEN}).encode())),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_credential_between_large_arrays_is_found(name: str, tmp_path: Path) -> None:
    BETWEEN[name](tmp_path / name)
    report = scan_file(tmp_path / name)
    assert kinds(report) == {"Hugging Face token"}, report
    assert report.verdict is ScanVerdict.UNKNOWN


NOISE: Mapping[str, Callable[[np.random.Generator], bytes]] = {
    "bytes": lambda random: random.bytes(1 << 22),
    "float32": lambda random: random.normal(size=1 << 20).astype(np.float32).tobytes(),
    "float16": lambda random: random.normal(size=1 << 21).astype(np.float16).tobytes(),
    "int8": lambda random: random.integers(-127, 127, 1 << 22).astype(np.int8).tobytes(),
    "base64": lambda random: base64.b64encode(random.bytes(3 << 20)),
    "base64 in lines": lambda random: base64.encodebytes(random.bytes(3 << 20)),
    "base64 for addresses": lambda random: base64.encodebytes(random.bytes(3 << 20)).translate(
        bytes.maketrans(b"+/", b"-_")
    ),
    "hexadecimal": lambda random: random.bytes(1 << 21).hex().encode(),
    "numbers": lambda random: " ".join(map(repr, random.normal(size=1 << 17).tolist())).encode(),
    "deflated": lambda random: zlib.compress(random.bytes(1 << 22)),
}


@pytest.mark.parametrize("kind", NOISE)
def test_weights_and_what_they_are_written_in_hold_no_credential(kind: str) -> None:
    from vallum_validator.scan import secrets

    data = memoryview(NOISE[kind](np.random.default_rng(7)))
    ledger = Ledger(100)
    secrets.search([(0, data)], Context("", 0, ledger, Budget.of(Limits(), len(data)), inspect))
    assert ledger.findings == []


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "token: hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "https://user:password@example.org",
        "https://user:${TOKEN}@example.org",
        "the skin of sk-learn-like-estimators-that-have-long-names-of-many-words",
        "https://example.org:8080/path@2",
        "ghp_short",
    ],
)
def test_what_documentation_writes_is_no_credential(text: str, tmp_path: Path) -> None:
    assert scan(tmp_path, text.encode()).findings == ()


def test_place_of_a_credential_is_told(tmp_path: Path) -> None:
    data = b"\x80\x04" + pickle.dumps({"a": "b" * 300, "t": TOKEN})[2:]
    (finding,) = scan(tmp_path, data, "model.pkl").findings
    assert finding.offset is not None
    assert data[finding.offset :].startswith(TOKEN.encode())


def test_personal_data_is_told_and_judges_nothing(tmp_path: Path) -> None:
    report = scan(tmp_path, b"Trained on data of erika.mustermann@web.de, DE89 3704 0044 0532 0130 00.\n")
    assert report.verdict is ScanVerdict.CLEAN
    assert {finding.rule for finding in report.findings} == {"personal.found"}
    assert len(report.findings) == 2
    assert "mustermann" not in str(report.findings)


def test_same_kind_is_told_once(tmp_path: Path) -> None:
    assert len(scan(tmp_path, (TOKEN + "\n").encode() * 1000).findings) == 1


def test_archive_members_are_searched(tmp_path: Path) -> None:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.md", f"x {TOKEN}\n")
    (finding,) = scan(tmp_path, buffer.getvalue(), "a.zip").findings
    assert (finding.rule, finding.member, finding.offset) == ("secret.found", "notes.md", 2)


ARRAY: Mapping[str, Callable[[Path, NDArray[Any]], object]] = {
    "a.npy": np.save,
    "a.joblib": lambda path, array: joblib.dump([array], path),
    "a.pkl": lambda path, array: path.write_bytes(pickle.dumps([array])),
    "a.onnx": lambda path, array: path.write_bytes(numpy_model(array)),
    "a.h5": lambda path, array: path.write_bytes(hdf5_of(array)),
}


def numpy_model(array: NDArray[Any]) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Relu", ["x"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [value], [out], [numpy_helper.from_array(array, "w")])
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )


def hdf5_of(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a"] = array
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("size", [1 << 18, 1 << 20])
@pytest.mark.parametrize("name", ARRAY)
def test_small_integers_are_no_text(name: str, size: int, kind: str, tmp_path: Path) -> None:
    """As characters of one, two or four bytes they read as digits and letters: ages, counts, indices of words."""
    ARRAY[name](tmp_path / name, np.random.default_rng(3).integers(32, 91, size).astype(kind))
    report = static(tmp_path / name)
    assert report == []


def static(path: Path) -> list[Finding]:
    """What is found without the second reading, which says nothing of text and takes seconds."""
    data = memoryview(path.read_bytes())
    ledger = Ledger(100)
    inspect(data, Context("", 0, ledger, Budget.of(Limits(), len(data)), inspect))
    return ledger.findings
