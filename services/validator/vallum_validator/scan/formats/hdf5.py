"""HDF5, as Keras writes it: every JSON configuration inside is walked, links to other files are refused.

Our own look covers the classic layout that h5py writes by default: configurations lie uncompressed in one piece, and
groups hold no links out of the file. Files with the newer group structures are UNKNOWN here; the reference parser in
the sandbox may know more.
"""

from __future__ import annotations

import json
import re
from typing import Final

from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.formats.configs import inspect_config

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MAX_CONFIG: Final = 64 * 1024**2
_CONFIG: Final = re.compile(rb'\{\s*"[ -~]{2,60}"\s*:')
_EXTERNAL_LINK: Final = re.compile(rb"\x06\x00..[\x00-\x0f]\x00\x00\x00\x01[\x08-\x1f]\x40", re.DOTALL)
_EXTERNAL_FILES: Final = re.compile(
    rb"\x07\x00..[\x00-\x0f]\x00\x00\x00\x01\x00\x00\x00[\x01-\x10]\x00[\x01-\x10]\x00", re.DOTALL
)
_NEW_STRUCTURE: Final = re.compile(rb"OHDR\x02|FRHP\x00|BTHD\x00")


def inspect_hdf5(data: memoryview, context: Context) -> str:
    """Walk the configurations and look for ways out of the file."""
    if len(data) < 16 or data[8] > 0:
        context.report("file.unsupported", "an HDF5 superblock newer than version 0 cannot be judged here", 8)
    found_new = _NEW_STRUCTURE.search(data)
    if found_new:
        context.report("file.unsupported", "the newer HDF5 group structures cannot be judged here", found_new.start())
    for expression, what in ((_EXTERNAL_LINK, "a link to another file"), (_EXTERNAL_FILES, "data in another file")):
        found = expression.search(data)
        if found:
            context.report("hdf5.external", what, found.start())
    _configurations(data, context)
    return "hdf5"


def _configurations(data: memoryview, context: Context) -> None:
    decoder, position = json.JSONDecoder(), 0
    while found := _CONFIG.search(data, position):
        text = str(data[found.start() : found.start() + _MAX_CONFIG], "latin-1")
        try:
            document, length = decoder.raw_decode(text)
            inspect_config(document, context)
            position = found.start() + length
        except (ValueError, RecursionError):
            if b"class_name" in text[:4096].encode("latin-1"):
                context.report("format.broken", f"a configuration is no JSON: {shown(text[:60])}", found.start())
            position = found.end()
