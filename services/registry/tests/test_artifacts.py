"""Files by content: kept whole or not at all, in a folder as in memory (which `obstore` treats like S3)."""

from __future__ import annotations

import hashlib

import pytest

from vallum_common.errors import Invalid, NotFound, Unavailable
from vallum_registry.store.artifacts import PIECE_BYTES, ObjectArtifacts

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "memory"])
def artifacts(request, tmp_path):
    """Both kinds."""
    return ObjectArtifacts((tmp_path / "with space").as_uri() if request.param == "folder" else "memory:///")


async def pieces(content, size=100_000):
    """A file as it comes from the spool."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def read(artifacts, sha256):
    """The pieces that come back."""
    return [piece async for piece in artifacts.read(sha256)]


async def test_what_was_put_comes_back_in_small_pieces(artifacts):
    await artifacts.put(DIGEST, len(CONTENT), pieces(CONTENT))
    found = await read(artifacts, DIGEST)
    assert b"".join(found) == CONTENT
    assert max(map(len, found)) <= PIECE_BYTES


async def test_what_is_there_is_not_written_again(artifacts):
    await artifacts.put(DIGEST, len(CONTENT), pieces(CONTENT))

    async def never():
        raise AssertionError("read although the file is there")
        yield b""

    await artifacts.put(DIGEST, len(CONTENT), never())


async def test_file_that_breaks_off_is_not_kept(artifacts):
    async def broken():
        yield CONTENT[:1000]
        raise Unavailable("the spool ended")

    with pytest.raises(Unavailable):
        await artifacts.put(DIGEST, len(CONTENT), broken())
    with pytest.raises(NotFound, match="recorded but missing"):
        await read(artifacts, DIGEST)
    await artifacts.put(DIGEST, len(CONTENT), pieces(CONTENT))
    assert b"".join(await read(artifacts, DIGEST)) == CONTENT


async def test_file_of_another_length_is_put_right(artifacts):
    await artifacts.put(DIGEST, 3, pieces(b"cut"))
    await artifacts.put(DIGEST, len(CONTENT), pieces(CONTENT))
    assert b"".join(await read(artifacts, DIGEST)) == CONTENT


async def test_folder_that_cannot_be_written_is_unavailable_in_one_line(tmp_path):
    artifacts = ObjectArtifacts((tmp_path / "store").as_uri())
    (tmp_path / "store" / "sha256").write_text("a file, not a folder")
    with pytest.raises(Unavailable) as told:
        await artifacts.put(DIGEST, len(CONTENT), pieces(CONTENT))
    assert "\n" not in told.value.message


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://host/folder"])
def test_url_that_leads_to_no_store_is_refused_in_one_line(url):
    with pytest.raises(Invalid, match="the artefact store") as told:
        ObjectArtifacts(url)
    assert "\n" not in told.value.message
