"""Frames come back as they were sent, and bytes that are no frame are refused before they cost anything."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vallum_validator.sandbox.frames import MAX_BODY_BYTES, PREFIX_BYTES, Frame, FrameInvalid, decode, encode, sizes


def through(frame: Frame) -> Frame:
    return read(encode(frame))


def read(message: bytes) -> Frame:
    head_bytes, _ = sizes(message[:PREFIX_BYTES])
    return decode(message[PREFIX_BYTES : PREFIX_BYTES + head_bytes], message[PREFIX_BYTES + head_bytes :])


def text(*values: str | None) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@given(
    arrays.arrays(
        st.sampled_from([np.float64, np.int64, np.int32]), arrays.array_shapes(min_dims=1, max_dims=2, min_side=0)
    )
)
def test_numbers_come_back_as_they_were_sent(array: np.ndarray) -> None:
    back = through(Frame({}, {"a": array})).arrays["a"]
    assert back.shape == array.shape
    assert back.tobytes() == np.ascontiguousarray(array).tobytes()


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=("Cs",)))))
def test_text_comes_back_as_it_was_sent(values: list[str | None]) -> None:
    assert through(Frame({}, {"a": text(*values)})).arrays["a"].tolist() == values


def test_the_head_and_several_arrays_come_back() -> None:
    back = through(Frame({"command": "x", "n": [1, None]}, {"a": np.eye(2), "b": text("é", None, "é")}))
    assert back.head == {"command": "x", "n": [1, None]}
    assert list(back.arrays) == ["a", "b"]


@pytest.mark.parametrize("array", [np.zeros(2, np.float32), np.zeros(2, np.complex128), np.array(["a"])])
def test_an_array_of_another_type_is_not_sent(array: np.ndarray) -> None:
    with pytest.raises(FrameInvalid, match="does not travel"):
        encode(Frame({}, {"a": array}))


def test_a_frame_larger_than_a_reader_accepts_is_not_sent() -> None:
    with pytest.raises(FrameInvalid, match="too large"):
        encode(Frame({}, {"a": np.zeros(MAX_BODY_BYTES // 8 + 1)}))


@pytest.mark.parametrize(
    "prefix", [struct.pack("<4sIQ", b"VLM2", 1, 1), struct.pack("<4sIQ", b"VLM1", 1 << 31, 1), b"VLM1" + b"\xff" * 12]
)
def test_a_prefix_that_is_none_or_announces_too_much_is_refused(prefix: bytes) -> None:
    with pytest.raises(FrameInvalid):
        sizes(prefix)


def described(**changes: object) -> bytes:
    array = {"name": "a", "kind": "float64", "shape": [1], "bytes": [8], **changes}
    return json.dumps({"head": {}, "arrays": [array]}).encode()


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"not json", b""),
        (b"[]", b""),
        (b'{"head": {}}', b""),
        (b'{"head": [], "arrays": []}', b""),
        (b'{"head": {}, "arrays": [1]}', b""),
        (b'{"head": {}, "arrays": []}', b"left over"),
        (b"[" * 100_000, b""),
        (described(kind="object"), bytes(8)),
        (described(kind=["float64"]), bytes(8)),
        (described(shape=[2]), bytes(8)),
        (described(shape=[-1]), bytes(8)),
        (described(shape=[True]), bytes(8)),
        (described(shape=["1"]), bytes(8)),
        (described(shape=[1, 1, 1]), bytes(8)),
        (described(shape=[10**30]), bytes(8)),
        (described(bytes=[9]), bytes(8)),
        (described(bytes=[-8]), bytes(8)),
        (described(bytes=[]), b""),
        (described(bytes=[4, 4]), bytes(8)),
        (described(bytes=8), bytes(8)),
    ],
)
def test_what_is_not_exactly_a_frame_is_refused(head: bytes, body: bytes) -> None:
    with pytest.raises(FrameInvalid):
        decode(head, body)


@pytest.mark.parametrize(
    ("ends", "run", "codes"),
    [
        ([1], b"a", [1]),
        ([1], b"a", [-2]),
        ([2], b"a", [0]),
        ([1], b"ab", [0]),
        ([2, 1], b"a", [0]),
        ([1], b"\xff", [0]),
        ([2**63 - 1, -(2**63), 1], b"a", [0]),
    ],
)
def test_text_that_does_not_fit_together_is_refused(ends: list[int], run: bytes, codes: list[int]) -> None:
    parts = [np.array(ends, "<i8").tobytes(), run, np.array(codes, "<i4").tobytes()]
    head = described(kind="text", shape=[len(codes)], bytes=[len(part) for part in parts])
    with pytest.raises(FrameInvalid):
        decode(head, b"".join(parts))


_VALID = encode(Frame({"sequence": 1}, {"a": np.eye(2), "b": text("x", None, "yy")}))


@given(st.lists(st.tuples(st.integers(0, len(_VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_mutated_frame_is_read_or_refused_and_nothing_else(changes: list[tuple[int, int]]) -> None:
    message = bytearray(_VALID)
    for place, value in changes:
        message[place] = value
    try:
        frame = read(bytes(message))
    except FrameInvalid:
        return
    assert all(array.ndim <= 2 for array in frame.arrays.values())
