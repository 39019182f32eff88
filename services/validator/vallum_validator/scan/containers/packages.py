"""What a zip archive is: skops, numpy arrays, torch, Keras, or simply files."""

from __future__ import annotations

from vallum_common.errors import Invalid
from vallum_validator.scan.containers.zip import ZipArchive
from vallum_validator.scan.context import Context
from vallum_validator.scan.formats.skops import SCHEMA, inspect_skops


def inspect_zip(data: memoryview, context: Context) -> str:
    """Open the archive and inspect it as what its members say it is."""
    archive = ZipArchive(data, context)
    names = archive.names
    if SCHEMA in names:
        inspect_skops(archive, context)
        return "skops"
    _inspect_members(archive, context)
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _inspect_members(archive: ZipArchive, context: Context) -> None:
    for entry in archive.entries:
        inside = context.enter(entry.name)
        if entry.name.endswith("/") and entry.size == 0:
            continue
        try:
            content = archive.read(entry)
        except Invalid as error:
            inside.report("format.broken", error.message)
            continue
        context.inspect(content, inside)
