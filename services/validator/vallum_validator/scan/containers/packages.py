"""What a zip archive is: skops, numpy arrays, torch, Keras, or simply files."""

from __future__ import annotations

from typing import Final

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.zip import ZipArchive
from vallum_validator.scan.containers.zip_records import begin_of
from vallum_validator.scan.context import Context
from vallum_validator.scan.formats.skops import SCHEMA, inspect_skops
from vallum_validator.scan.formats.torch import inspect_torch_zip, is_torch_zip

_PT2_MARK: Final = "archive_format"


def inspect_zip(data: memoryview, context: Context) -> str:
    """Open the archive and inspect it as what its members say it is."""
    begin = begin_of(data)
    if begin:
        # What stands first is no more than the header of a member, and every reader begins at the end.
        context.report("file.polyglot", f"{begin} bytes stand before the archive", 0)
        data = data[begin:]
    archive = ZipArchive(data, context)
    names = archive.names
    if any(name.rpartition("/")[2] == _PT2_MARK for name in names):
        context.report("file.unsupported", "an archive of torch.export (pt2) cannot be judged here")
    if SCHEMA in names:
        inspect_skops(archive, context)
        return "skops"
    if is_torch_zip(names):
        return inspect_torch_zip(archive, context)
    found = _inspect_members(archive, context)
    if found.get("config.json") == "keras-config":
        return "keras"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _inspect_members(archive: ZipArchive, context: Context) -> dict[str, str]:
    """The format of each member."""
    found = {}
    for entry in archive.entries:
        inside = context.enter(entry.name)
        if entry.name.endswith("/") and not entry.size and not entry.compressed:
            continue
        try:
            content = archive.read(entry)
        except Invalid as error:
            inside.report("format.broken", error.message)
            continue
        found[entry.name] = context.inspect(content, inside)
    return found
