"""Writes the corpus into a folder, with an index that says what every file is and how a scan must judge it.

    python -m services.validator.tests.corpus.generate FOLDER [--hostile-only]

Payloads make an empty file beside theirs and do nothing else. No file is loaded while it is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from . import Payload, every_attack


@dataclass(frozen=True)
class Entry:
    """A file of the corpus.

    Args:
        file: its name in the folder.
        name: what is special about it.
        family: the class of attack, or `honest`.
        expected: the verdict a scan must reach; a worse one (MALICIOUS for UNKNOWN) is right, too.
        loader: the real loader that runs its payload, empty where none does.
        marker: the file that its payload makes.
        advisory: where it was published.
    """

    file: str
    name: str
    family: str
    expected: str
    loader: str = ""
    marker: str = ""
    advisory: str = ""


def write_hostile(folder: Path) -> list[Entry]:
    """Write every attack; return what was written."""
    entries = []
    for number, attack in enumerate(every_attack()):
        marker = str(folder / f"marker{number}")
        file = f"hostile{number:03}{attack.suffix}"
        (folder / file).write_bytes(attack.build(Payload(marker)))
        entries.append(Entry(file, attack.name, attack.family, attack.expected, attack.loader, marker, attack.advisory))
    return entries


def write_honest(folder: Path) -> list[Entry]:
    """Write every honest file; return what was written."""
    from .honest import honest_files

    entries = []
    for number, (name, content) in enumerate(honest_files()):
        file = f"honest{number:04}-{name}"
        (folder / file).write_bytes(content)
        entries.append(Entry(file, name, "honest", "CLEAN"))
    return entries


def write_index(folder: Path, entries: list[Entry]) -> None:
    """Write the index."""
    (folder / "index.json").write_text(json.dumps([asdict(entry) for entry in entries], indent=1))


def main() -> None:
    """Write corpus and index."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hostile-only", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    entries = write_hostile(options.folder.resolve())
    if not options.hostile_only:
        entries += write_honest(options.folder.resolve())
    write_index(options.folder, entries)
    hostile = sum(entry.family != "honest" for entry in entries)
    sys.stdout.write(f"{hostile} hostile files, {len(entries) - hostile} honest ones, index.json in {options.folder}\n")


if __name__ == "__main__":
    main()
