"""Where programs lie that a loader finds and nobody looks for: behind padding, behind headers, in data, in bytecode.

jinja2, `logging.config`, numpy, hickle and torch's lite interpreter each ran one.
"""

from __future__ import annotations

import base64
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from onnx import helper

from vallum_validator.domain.findings import ScanVerdict

from .corpus import Payload
from .corpus.containers import zipped
from .test_scan_configs import rules, scan

MALICIOUS, UNKNOWN, CLEAN = ScanVerdict.MALICIOUS, ScanVerdict.UNKNOWN, ScanVerdict.CLEAN


@pytest.mark.parametrize("padding", ["{# %s #}", "%s"])
def test_template_behind_a_mebibyte_of_padding_is_judged(padding: str) -> None:
    escape = "{{ cycler | attr('_' ~ '_init_' ~ '_') }}"
    content = (padding % ("x" * 1_200_000) + escape).encode()
    assert scan(content).verdict is MALICIOUS
    content = ("".join(f"{number} '{{}}' \n" for number in range(500_000)) + escape).encode()
    assert scan(content).verdict is not CLEAN


def test_long_text_with_harmless_blocks_is_clean() -> None:
    content = ("The quick brown fox. " * 60_000 + "{{ title }} {% if x %}y{% endif %}\n").encode()
    assert scan(content).verdict is CLEAN


def test_configuration_of_logging_behind_a_mebibyte_is_malicious() -> None:
    content = b"#" + b"x" * 1_200_000 + b"\n[handler_h]\nclass=StreamHandler\nargs=(open('x', 'w'),)\n"
    assert scan(content).verdict is MALICIOUS


@pytest.mark.parametrize(
    "content",
    [b"A\n3\n262656\n197888\n5\nUTF-8\n16\n1\n262153\n1\na\n", b"X\n\0\0\0\3\0\4\2\0", b"B\n\3\0\0\0\0\2\4\0"],
)
def test_what_r_saves_is_unsupported_in_every_notation(content: bytes) -> None:
    """CVE-2024-27322: a promise in it is evaluated."""
    assert (scan(content).verdict, "file.unsupported" in rules(content)) == (UNKNOWN, True)
    assert scan(b"A\n3\n5\n8\n").verdict is CLEAN  # a column of a table


def _npy(descr: str, shape: str, body: bytes) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(("descr", "shape"), [("'i4,O'", "(1,)"), ("('O', (1,))", "(1,)"), ("'|O'", "(1L,)")])
def test_pickle_behind_a_header_that_only_numpy_understands_is_malicious(descr: str, shape: str) -> None:
    assert scan(_npy(descr, shape, Payload("marker").pickle)).verdict is MALICIOUS
    assert scan(_npy(descr, shape, pickle.dumps([1]))).verdict is UNKNOWN


def _hdf5(path: Path, data: Any, **options: Any) -> bytes:
    with h5py.File(path, "w") as file:
        file.create_group("hickle_types_table")
        file.create_dataset("data", data=data, **options)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["u1", "S1", "V"])
def test_pickle_that_hickle_keeps_in_a_data_set_is_malicious(tmp_path: Path, kind: str) -> None:
    hostile = Payload("marker").pickle
    data = np.void(hostile) if kind == "V" else np.frombuffer(hostile, kind)
    assert scan(_hdf5(tmp_path / "a.h5", data)).verdict is MALICIOUS


def test_packed_pickle_that_hickle_keeps_is_unknown(tmp_path: Path) -> None:
    data = np.frombuffer(Payload("marker").pickle * 50, "u1")
    assert scan(_hdf5(tmp_path / "a.h5", data, compression="gzip")).verdict is UNKNOWN


def test_bytes_of_a_data_set_that_are_no_pickle_are_clean(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, 20_000, dtype=np.uint8)
    assert scan(_hdf5(tmp_path / "a.h5", image)).verdict is CLEAN


@pytest.mark.parametrize(
    ("operator", "verdict"),
    [("aten::from_file", MALICIOUS), ("evil::run", UNKNOWN), ("aten::relu", CLEAN), ("quantized::linear", CLEAN)],
)
def test_operator_in_the_bytecode_of_the_lite_interpreter_is_judged(operator: str, verdict: ScanVerdict) -> None:
    """It runs that, and never the code beside it."""
    code = pickle.dumps((8, ("__torch__.M.forward", (("operators", ((operator, "", 4),)),))), 2)
    members = {"m/data.pkl": pickle.dumps({}, 2), "m/constants.pkl": pickle.dumps((), 2), "m/bytecode.pkl": code}
    assert scan(zipped({**members, "m/version": b"3\n"})).verdict is verdict


@pytest.mark.parametrize("length", [376, 24_184, 40_056, 55_928])
def test_header_of_safetensors_that_begins_like_zlib_is_none(length: int) -> None:
    """`model-00005-of-00005.safetensors` of a GPT-2 in five parts had 376 bytes of header."""
    header = b'{"__metadata__":{"format":"pt"}}'.ljust(length)
    assert scan(struct.pack("<Q", length) + header).verdict is CLEAN


def _in_onnx(text: str) -> bytes:
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    helper.set_model_props(model, {"names": text})
    return bytes(model.SerializeToString())


def _in_safetensors(text: str) -> bytes:
    header = json.dumps({"__metadata__": {"names": text}}).encode()
    return struct.pack("<Q", len(header)) + header


def _in_gguf(text: str) -> bytes:
    key, value = b"general.names", text.encode()
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry


def _in_json(text: str) -> bytes:
    return json.dumps({"names": text}).encode()


@pytest.mark.parametrize("wrap", [_in_onnx, _in_safetensors, _in_gguf, _in_json])
def test_text_of_metadata_is_judged_like_a_configuration(wrap: Callable[[str], bytes]) -> None:
    """YOLOv5 and Ultralytics up to 8.3 evaluate the names of classes that an ONNX model carries."""
    pickled = str(base64.b64encode(Payload("marker").pickle), "ascii")
    for text, verdict in (
        ("__import__('os').system('true')", MALICIOUS),
        (pickled, MALICIOUS),
        ('{"a": {"_target_": "os.system", "command": "true"}}', MALICIOUS),
        ('[{"auto_map": {"AutoModel": "a.B"}}]', UNKNOWN),
        ("{0: 'person', 1: 'bicycle'}", CLEAN),
        ('{"ss_tag_frequency": {"a": 1}}', CLEAN),
    ):
        assert scan(wrap(text)).verdict is verdict


def _parquet(schema: bytes) -> bytes:
    """A table of nothing, with a schema of Arrow's own in its metadata."""
    key, value = b"ARROW:schema", base64.b64encode(schema)
    pair = b"\x18" + bytes([len(key)]) + key + b"\x18" + _varint(len(value)) + value + b"\0"
    root = b"\x48\x06schema\x15\0\0"  # name, number of children
    footer = b"\x15\x02\x19\x1c" + root + b"\x16\0\x19\x0c\x19\x1c" + pair + b"\0"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _varint(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7]) if value > 0x7F else bytes([value])


def test_type_that_pyarrow_unpickles_is_malicious() -> None:
    """CVE-2023-47248."""
    name = b"ARROW:extension:name\0\0\0\x17\0\0\0arrow.py_extension_type\0"
    for pickled, verdict in ((Payload("marker").pickle, MALICIOUS), (pickle.dumps([1]), UNKNOWN)):
        for shift in range(3):
            assert scan(_parquet(b"\0" * shift + name + pickled)).verdict is verdict
    assert scan(_parquet(b"\0" * 80)).verdict is CLEAN


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n", ""])
def test_command_in_a_table_of_kaldi_is_a_program(end: str) -> None:
    """kaldiio runs what stands before the bar."""
    content = f"utt1 feats.ark:12\nutt2 touch marker |{end}".encode()
    assert (scan(content).verdict, rules(content)) == (UNKNOWN, {"file.program"})


@pytest.mark.parametrize(
    "text", ["a 1.ark:3\nb 2.ark:4\n", "# A\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n", "a|\nb c|\n"]
)
def test_table_without_commands_is_clean(text: str) -> None:
    assert scan(text.encode()).verdict is CLEAN


def test_array_of_objects_in_the_place_of_a_storage_is_malicious() -> None:
    """`numpy.load` takes any zip for an npz."""
    hidden = _npy("'|O'", "()", Payload("marker").pickle)
    count = len(hidden)
    storage = b"(X\7\0\0\0storagectorch\nByteStorage\nX\1\0\0\0" + b"0X\3\0\0\0cpuM" + struct.pack("<H", count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0M" + struct.pack("<H", count) + b"\x85K\1\x85"
    tensor += b"\x89ccollections\nOrderedDict\n)RtR"
    pickled = b"\x80\2}X\1\0\0\0w" + tensor + b"s."
    members = {"m/data.pkl": pickled, "m/data/0": hidden, "m/version": b"3\n"}
    assert scan(zipped(members)).verdict is MALICIOUS
    assert scan(zipped({**members, "m/data/0": bytes(count)})).verdict is CLEAN


def test_settings_that_a_model_brings_for_its_runtime_are_not_clean() -> None:
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    helper.set_model_props(model, {"ort_config": '{"session_options": {"enable_profiling": 1}}'})
    assert scan(bytes(model.SerializeToString())).verdict is UNKNOWN


def test_what_parquet_says_of_a_column_twice_is_explained_where_it_is_the_same() -> None:
    """pyarrow up to 15 wrote the description of a column behind its pages, too, and nothing reads it."""
    pages = b"\x15\x04page"
    column = b"\x15\x02\x19\x15\0\x19\x18\x01a\x15\0\x16\x02\x16" + bytes([2 * len(pages)])
    column += b"\x16" + bytes([2 * len(pages)]) + b"\x26\x08\0"
    place = 4 + len(pages)
    chunk = b"\x26" + bytes([2 * place]) + b"\x1c" + column + b"\0"
    group = b"\x19\x1c" + chunk + b"\x16\0\x16\x02\0"
    footer = b"\x15\x02\x19\x1c\x48\x06schema\x15\0\0\x16\x02\x19\x1c" + group + b"\0"
    end = footer + struct.pack("<I", len(footer)) + b"PAR1"
    assert scan(b"PAR1" + pages + chunk + end).verdict is CLEAN
    for other in (chunk.replace(b"\x01a", b"\x01b"), b"hidden" + chunk, chunk + b"hidden"):
        assert scan(b"PAR1" + pages + other + end).verdict is UNKNOWN
