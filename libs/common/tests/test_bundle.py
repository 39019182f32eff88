"""Opening a bundle: a folder or an archive, every file of it plain, inside, and described by its bytes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vallum_common.bundle import Role, open_bundle, source
from vallum_common.errors import Invalid

MANIFEST = b"""
model: {id: m, version: "1", artifact: model.bin, owner: me}
data: {evaluation: {file: data/e.csv, label: y}, members: {file: data/e.csv}}
card: card.md
"""
FILES = {"vallum.yaml": MANIFEST, "model.bin": b"a model", "data/e.csv": b"x,y\n1,2\n", "card.md": b"# A card"}

Change = Callable[[tarfile.TarInfo], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle as a folder."""
    root = tmp_path / "bundle"
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def packed(files: dict[str, bytes], change: Change = lambda _: None) -> bytes:
    """A .tar.gz; `change` is made to every entry."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            change(entry)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def refusal(path: Path) -> str:
    """The one line of a refusal."""
    with pytest.raises(Invalid) as refused, open_bundle(path):
        pass
    assert "\n" not in refused.value.message
    return refused.value.message


def test_files_are_described_by_their_bytes_the_artefact_first(folder: Path) -> None:
    with open_bundle(folder) as bundle:
        assert [(file.role, file.path) for file in bundle.files] == [
            (Role.ARTIFACT, "model.bin"),
            (Role.EVALUATION, "data/e.csv"),
            (Role.MEMBERS, "data/e.csv"),
            (Role.CARD, "card.md"),
        ]
        assert bundle.files[0].sha256 == hashlib.sha256(b"a model").hexdigest()
        assert bundle.files[0].size_bytes == 7
        assert bundle.manifest_bytes == MANIFEST
        assert bundle.root == folder


@pytest.mark.parametrize("prefix", ["", "some-name/", "./"])
def test_archive_of_a_bundle_is_the_same_bundle_and_leaves_nothing(tmp_path: Path, folder: Path, prefix: str) -> None:
    archive = tmp_path / "bundle.tar.gz"
    archive.write_bytes(packed({prefix + name: content for name, content in FILES.items()}))
    with open_bundle(archive) as unpacked, open_bundle(folder) as plain:
        assert (unpacked.files, unpacked.manifest) == (plain.files, plain.manifest)
    assert not unpacked.root.exists()


def test_nothing_there_is_told(tmp_path: Path) -> None:
    assert "no bundle at" in refusal(tmp_path / "nothing")
    assert "vallum.yaml' cannot be read: No such file" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["model.bin", "data/e.csv"])
def test_missing_and_empty_files_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    assert f"{name!r} is empty" in refusal(folder)
    (folder / name).unlink()
    assert f"no file {name!r} in the bundle" in refusal(folder)


def test_link_that_leads_out_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"a key")
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to(secret)
    assert "card: 'card.md' is a link that leads out of the bundle" in refusal(folder)


def test_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / "card.md").unlink()
    os.mkfifo(folder / "card.md")
    assert "no file 'card.md'" in refusal(folder)


@pytest.fixture
def archived(tmp_path: Path) -> Callable[[bytes], str]:
    """The refusal of an archive with these bytes."""

    def refuse(content: bytes) -> str:
        archive = tmp_path / "b.tar.gz"
        archive.write_bytes(content)
        return refusal(archive)

    return refuse


def link(kind: bytes, target: str) -> Change:
    """Turns the card into a link."""

    def change(entry: tarfile.TarInfo) -> None:
        if entry.name == "card.md":
            entry.type, entry.linkname, entry.size = kind, target, 0

    return change


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_archive_with_links_or_devices_is_refused(archived: Callable[[bytes], str], kind: bytes) -> None:
    assert "'card.md', a link or device" in archived(packed(FILES, link(kind, "/etc/passwd")))


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/vallum-out.txt", "a/../../out.txt"])
def test_archive_that_writes_elsewhere_writes_nothing_there(
    archived: Callable[[bytes], str], tmp_path: Path, name: str
) -> None:
    """CVE-2007-4559: tarfile follows `..`; an absolute name is put below the folder, or refused."""
    told = archived(packed({name: b"x"}))
    assert "cannot be unpacked" in told or "vallum.yaml" in told
    assert not list(tmp_path.rglob("*out.txt"))
    assert not Path("/tmp/vallum-out.txt").exists()


def test_archive_that_grows_too_large_is_refused_while_it_is_read(
    archived: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_ARCHIVE_BYTES", 100_000)
    bomb = packed({"vallum.yaml": MANIFEST, "model.bin": bytes(100_000)})
    assert len(bomb) < 2_000
    assert "unpacks to more than" in archived(bomb)


def test_archive_with_too_many_entries_is_refused(
    archived: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_ARCHIVE_ENTRIES", 20)
    assert "more than 20 entries" in archived(packed({f"f{number}": b"" for number in range(21)}))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar" * 200), packed(FILES)[:-40]])
def test_what_is_no_archive_is_refused(archived: Callable[[bytes], str], content: bytes) -> None:
    assert "cannot be unpacked as .tar.gz" in archived(content)


LARGE = {**FILES, "model.bin": b"".join(b"%d," % number**2 for number in range(5_000))}
"""Compressible, so that a damaged byte breaks the compression and not only the checksum."""


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_archive_is_opened_or_invalid(tmp_path: Path, data: st.DataObject) -> None:
    """Once in the compressed bytes and once in the tar inside: neither may raise anything but Invalid."""
    content = packed(LARGE)
    inner = data.draw(st.booleans(), "inside")
    if inner:
        content = gzip.decompress(content)
    place = data.draw(st.integers(0, len(content) - 1), "place")
    patch = data.draw(st.binary(min_size=1, max_size=12), "patch")
    content = content[:place] + patch + content[place + len(patch) :]
    archive = tmp_path / "b.tar.gz"
    archive.write_bytes(gzip.compress(content, 1) if inner else content)
    with contextlib.suppress(Invalid), open_bundle(archive) as bundle:
        assert bundle.files


def test_name_with_a_zero_character_in_an_archive_is_refused(archived: Callable[[bytes], str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {"path": "a\0b"}
        tar.addfile(entry)
    assert "cannot be unpacked as .tar.gz" in archived(buffer.getvalue())
