"""Files by their content, in a folder or an S3-compatible store, through `obstore`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from vallum_common.errors import Invalid, NotFound, Unavailable

PIECE_BYTES: Final = 256 * 1024
_PART_BYTES: Final = 8 * 1024 * 1024
"""S3 takes parts of at least 5 MiB, at most 10,000 of them: 80 GB in one file."""


class ObjectArtifacts:
    """Files as objects named `sha256/<first two hex digits>/<hex digest>`.

    Args:
        url: `file:///folder`, which is made where it is missing, or `s3://bucket/prefix` with the usual `AWS_*`
            variables.

    Raises:
        Invalid: the URL leads to no store.
    """

    def __init__(self, url: str) -> None:
        try:
            self._store: Any = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
        except (BaseError, ValueError, OSError) as error:
            raise Invalid(f"the artefact store {url!r} cannot be used: {_first_line(error)}") from error

    async def put(self, sha256: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        """Keep a file: whole or not at all; one that is here already is not written again.

        Raises:
            Unavailable: the store does not answer.
        """
        try:
            if await self._size(sha256) != size_bytes:
                await obstore.put_async(self._store, _key(sha256), pieces, chunk_size=_PART_BYTES, max_concurrency=2)
        except (BaseError, OSError) as error:
            raise Unavailable(f"the artefact store does not take {sha256}: {_first_line(error)}") from error

    async def read(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes of a file, in pieces of at most 256 KiB.

        Raises:
            NotFound: it is not here.
            Unavailable: the store does not answer.
        """
        try:
            found = await obstore.get_async(self._store, _key(sha256))
            async for block in found.stream(min_chunk_size=PIECE_BYTES):
                for start in range(0, len(block), PIECE_BYTES):
                    yield bytes(block[start : start + PIECE_BYTES])
        except FileNotFoundError as error:
            raise NotFound(f"the file {sha256} is recorded but missing from the artefact store") from error
        except (BaseError, OSError) as error:
            raise Unavailable(f"the artefact store does not give {sha256}: {_first_line(error)}") from error

    async def _size(self, sha256: str) -> int | None:
        try:
            return int((await obstore.head_async(self._store, _key(sha256)))["size"])
        except FileNotFoundError:
            return None


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"


def _first_line(error: Exception) -> str:
    # obstore appends a dump of its Rust error to the message.
    return str(error).partition("\n")[0]
