"""Fetches artefacts from the registry; what arrives is checked against the digest it was asked by."""

from __future__ import annotations

import hashlib
from pathlib import Path

import grpc

from vallum.registry.v1 import registry_service_pb2, registry_service_pb2_grpc
from vallum_common.errors import Unavailable
from vallum_common.rpc.status import peer_errors


class RegistryArtifacts:
    """The registry as a source of bytes.

    Args:
        channel: to the registry, with the validator's own token.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = registry_service_pb2_grpc.RegistryServiceStub(channel)

    async def fetch(self, sha256: str, target: Path) -> None:
        """Write the bytes of a digest to a file.

        Raises:
            NotFound: the registry does not have them.
            Unavailable: the registry is away, or what came does not match the digest.
        """
        digest = hashlib.sha256()
        with peer_errors("the registry"), target.open("wb") as file:
            async for piece in self._stub.DownloadArtifact(registry_service_pb2.DownloadArtifactRequest(sha256=sha256)):
                digest.update(piece.data)
                file.write(piece.data)
        if digest.hexdigest() != sha256:
            raise Unavailable(f"asked the registry for {sha256} and got bytes of {digest.hexdigest()}")
