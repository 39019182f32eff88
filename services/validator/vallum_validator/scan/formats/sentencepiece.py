"""SentencePiece's `tokenizer.model`: a protocol buffer of pieces of words, with settings of its trainer. It is data."""

from __future__ import annotations

from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Context
from vallum_validator.scan.formats.protobuf import FIXED32, LENGTH, VARINT, fields

_MODEL: Final = frozenset({1, 2, 3, 4, 5})
_PIECE: Final = frozenset({(1, LENGTH), (2, FIXED32), (3, VARINT)})
_MAX_PIECE: Final = 10_000
_LOOKED_AT: Final = 100


def is_sentencepiece(data: memoryview) -> bool:
    """Whether it begins with pieces that have a text. Source: google/sentencepiece, sentencepiece_model.proto."""
    if bytes(data[:1]) != b"\x0a":
        return False
    seen = 0
    try:
        for entry in fields(data):
            if entry.number != 1 or seen == _LOOKED_AT:
                break
            if entry.wire != LENGTH or not {(part.number, part.wire) for part in fields(entry.data)} >= {(1, LENGTH)}:
                return False
            if not {(part.number, part.wire) for part in fields(entry.data)} <= _PIECE:
                return False
            seen += 1
    except Invalid:
        return False
    return seen > 0


def inspect_sentencepiece(data: memoryview, context: Context) -> str:
    """Check that there is nothing but pieces and settings."""
    for entry in fields(data):
        if entry.number not in _MODEL or entry.wire != LENGTH:
            context.report("file.polyglot", f"the model has field {entry.number}, which no reader knows", entry.offset)
        elif entry.number == 1:
            parts = list(fields(entry.data))
            if len(entry.data) > _MAX_PIECE or not {(part.number, part.wire) for part in parts} <= _PIECE:
                context.report("file.polyglot", "a piece holds more than text, score and type", entry.offset)
    return "sentencepiece"
