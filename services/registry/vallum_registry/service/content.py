"""The bytes of an upload against what its header announced."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from vallum_common.errors import Invalid
from vallum_registry.domain.uploads import Content


@dataclass(slots=True)
class ContentCheck:
    """Follows the sequence as it arrives and compares each content with its digest as soon as it is complete.

    Args:
        contents: what must arrive.
    """

    contents: tuple[Content, ...]
    received: int = 0
    _digests: list[str] = field(default_factory=list)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Invalid: a content does not have its digest, or more comes than was announced.
        """
        rest = memoryview(data)
        while rest:
            if len(self._digests) == len(self.contents):
                raise Invalid(f"the upload goes on after its {self.received} bytes; nothing more was announced")
            content = self.contents[len(self._digests)]
            piece = rest[: content.offset + content.size_bytes - self.received]
            self._hash.update(piece)
            self.received += len(piece)
            rest = rest[len(piece) :]
            if self.received == content.offset + content.size_bytes:
                self._complete(content)

    def _complete(self, content: Content) -> None:
        digest = self._hash.hexdigest()
        if digest != content.sha256:
            raise Invalid(
                f"{content.name!r} arrived with sha256 {digest}, announced was {content.sha256}; send it again",
                file=content.name,
            )
        self._digests.append(digest)
        self._hash = hashlib.sha256()
