"""torch files: a zip or a row of pickles, with storages that the pickles name and the file holds as raw bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan import allowlist, secrets
from vallum_validator.scan.containers.zip import ZipArchive
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.numpy import MAGIC as NPY_MAGIC
from vallum_validator.scan.formats.text import is_text
from vallum_validator.scan.pickled.judge import Judge
from vallum_validator.scan.pickled.readings import Reading
from vallum_validator.scan.pickled.streams import follow
from vallum_validator.scan.pickled.values import Global
from vallum_validator.scan.reader import Reader

LEGACY_MAGIC: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_PLAIN: Final = later(rb"[\w.+-]{0,128}\s?")
_PLAIN_MEMBER: Final = later(
    r"(version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id|\.data/version)$"
)
_STORAGE: Final = later(r"(data|constants|tensors|traced_inputs|weights)/[\w.]+$")
_CODE: Final = later(r"code/.*\.py$")
_DEBUG: Final = ".debug_pkl"
_NO_CODE: Final = later(
    rb'"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|"(?:[^"\\\n]|\\.)*+"?|'
    rb"'''(?:[^'\\]|\\.|'(?!''))*+(?:''')?|'(?:[^'\\\n]|\\.)*+'?|#[^\n]*+",
    re.DOTALL,
)
"""Texts and comments; a text without end, which the lexer refuses, ends nowhere, so that no place is seen twice.
Source: pytorch, torch/csrc/jit/frontend/lexer.h."""
_DOT: Final = rb"[\s\\]*+\.[\s\\]*+"
"""As the lexer takes it: with space and joined lines on both sides."""
_FILE_OPERATOR: Final = later(rb"\b(?:torch|aten)%b(?:save|load|from_file|_load|open)\b" % _DOT)
_FOREIGN_OPERATOR: Final = later(
    rb"\bops%b(?!(?:prim|aten|quantized|_quantized|prepacked|profiler)%b)[\w.]+|"
    rb"\b__torch__%btorch%bclasses%b(?!(?:quantized|xnnpack|mkldnn)%b)[\w.]+|"
    rb"(?<![\w.])(?:torch|ops|aten)\b(?![\s\\]*+[.:=])" % (_DOT, _DOT, _DOT, _DOT, _DOT, _DOT)
)
"""An operator of somebody else, or the name of a whole set of them, which may be given to a variable."""
_BYTECODE: Final = "bytecode.pkl"
_OPERATOR: Final = later(rb"([A-Za-z_]\w*)::(save|load|from_file|_load|open)?\w*")
"""What follows a name may be an opcode that looks like a letter of it."""
_OWN_OPERATORS: Final = frozenset({b"prim", b"aten", b"quantized", b"_quantized", b"prepacked", b"profiler"})
_BYTES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "QInt8Storage", "QUInt8Storage"), 1),
    **dict.fromkeys(("ShortStorage", "HalfStorage", "BFloat16Storage"), 2),
    **dict.fromkeys(("IntStorage", "FloatStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("LongStorage", "DoubleStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
    "UntypedStorage": 1,
}
"""Bytes per element. Source: pytorch, torch/__init__.py and torch/storage.py."""


def is_torch_zip(names: tuple[str, ...]) -> bool:
    """Whether the members are those of `torch.save` or `torch.jit.save`."""
    return any(name.endswith("/data.pkl") or name == "data.pkl" for name in names)


def inspect_torch_zip(archive: ZipArchive, context: Context) -> str:
    """Follow the pickles, hold the storages against what they name, and look at TorchScript for foreign operators."""
    scripted = any(name.rpartition("/")[2] == "constants.pkl" for name in archive.names)
    roots = {name.partition("/")[0] for name in archive.names}
    if len(roots) > 1:
        context.report("file.polyglot", f"the archive has the folders {shown(sorted(roots))}, and readers take one")
    named: dict[str, int] = {}
    storages: list[tuple[Context, str, memoryview]] = []
    for entry in archive.entries:
        inside, name = context.enter(entry.name), entry.name.partition("/")[2] or entry.name
        content = archive.read(entry)
        if name.endswith((".pkl", _DEBUG)):
            named |= _pickle(content, inside, name, scripted=scripted)
            if name.rpartition("/")[2] == _BYTECODE:
                _operators(content, inside)
            secrets.search_around(content, inside)
        elif _CODE.search(name):
            _script(content, inside)
            secrets.search([(0, content)], inside)
        elif _PLAIN_MEMBER.search(name):
            if not _PLAIN.fullmatch(content):
                inside.report("file.polyglot", f"{shown(name)} holds more than a version or a number", 0)
        elif _STORAGE.search(name):
            storages.append((inside, name, content))
        else:
            context.inspect(content, inside)
    for inside, name, content in storages:
        if bytes(content[: len(NPY_MAGIC)]) == NPY_MAGIC:  # to numpy any zip is an npz, and a storage an array of it
            context.inspect(content, inside)
        if secrets.is_textual(content):
            secrets.search([(0, content)], inside)
        if len(content) and named.get(name) != len(content):
            told = f"a storage of {len(content)} bytes, the pickle names {named.get(name, 'none')}"
            inside.report("file.polyglot", told, 0)
            context.inspect(content, inside)
    return "torchscript" if scripted else "torch"


def _pickle(content: memoryview, context: Context, name: str, *, scripted: bool) -> dict[str, int]:
    """Follow a pickle; returns the storages that it names, with their sizes in bytes."""
    judge = Judge(context, allowlist.shipped(), reading=Reading.SCRIPT if scripted else Reading.TORCH)
    try:
        end = follow(content, 0, judge, context)
    except Invalid as error:
        context.report("pickle.broken", error.message)
        return {}
    if end != len(content):
        context.report("pickle.trailing-bytes", f"{len(content) - end} bytes follow the pickle", end)
    folder = name.removesuffix(".pkl")
    return {f"{folder}/{storage[2]}": _storage_bytes(storage) for storage in judge.storages.values()}


def _script(content: memoryview, context: Context) -> None:
    if not is_text(content):
        context.report("file.polyglot", "the code is no text", 0)
    code = _NO_CODE.sub(lambda found: b" " * len(found[0]), content)
    for rule, expression in (("denied", _FILE_OPERATOR), ("unknown", _FOREIGN_OPERATOR)):
        found = expression.search(code)
        if found:
            context.report(f"torch.operator-{rule}", f"TorchScript calls {shown(found[0])}", found.start())


def _operators(content: memoryview, context: Context) -> None:
    """What the lite interpreter runs instead of the code: its operators stand in a pickle by their names."""
    for found in _OPERATOR.finditer(content):
        rule = "unknown" if found[1] not in _OWN_OPERATORS else "denied" if found[2] else ""
        if rule:
            context.report(f"torch.operator-{rule}", f"the bytecode calls {shown(found[0])}", found.start())


_KEY: Final = later(rb"X[\x01-\xff]\x00\x00\x00([0-9]+)")
"""A key as protocol 2 writes it."""


def is_torch_legacy(data: memoryview) -> bool:
    """Whether the file begins with the magic number that `torch.save` pickled before version 1.6."""
    return bytes(data[: len(LEGACY_MAGIC)]) == LEGACY_MAGIC


def inspect_torch_legacy(data: memoryview, context: Context) -> str:
    """Follow the five pickles, then account for every storage behind them."""
    judge = Judge(context, allowlist.shipped(), reading=Reading.TORCH)
    start = offset = 0
    for _ in range(5):
        start, offset = offset, follow(data, offset, judge, context)
    reader = Reader(data, offset)
    # The fifth pickle lists the keys in the order of the storages. The number of elements alone does not say which it
    # is: a counter of eight bytes and a bias of four both have one.
    for key in _KEY.findall(data[start:offset]):
        storage = judge.storages.get(shown(str(key, "ascii")))
        if storage is None:
            raise Invalid(f"no tensor has the storage {shown(key)}")
        length = reader.number("Q") * _element_bytes(storage)
        reader.take(length)
        context.budget.noted.constant(reader.offset - length, reader.offset)
    if reader.left:
        context.report("file.polyglot", f"{reader.left} bytes follow the storages", reader.offset)
    return "torch-legacy"


def _storage_bytes(storage: tuple[Any, ...]) -> int:
    count = storage[4]
    if type(count) is not int or count < 0:
        raise Invalid(f"a storage of {shown(count)} elements")
    return count * _element_bytes(storage)


def _element_bytes(storage: tuple[Any, ...]) -> int:
    kind = storage[1]
    name = kind.name if isinstance(kind, Global) else ""
    if name not in _BYTES:
        raise Invalid(f"storage type {shown(kind)} is not known")
    return _BYTES[name]
