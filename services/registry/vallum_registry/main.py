"""Builds the registry; the only room that constructs things."""

from __future__ import annotations

import random

import grpc

from vallum.registry.v1 import registry_service_pb2_grpc
from vallum_common import attestation
from vallum_common.bus.consumer import Consumer, each
from vallum_common.bus.relay import Relay
from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.database import Database
from vallum_common.lifecycle import Service, build_server, start, system_randomness
from vallum_common.rpc.server import Server
from vallum_registry import stream, wire
from vallum_registry.config import Config
from vallum_registry.domain.uploads import UploadLimits
from vallum_registry.grpc_api import RegistryServicer
from vallum_registry.service.catalogue import Catalogue, Changes
from vallum_registry.service.decisions import Decisions
from vallum_registry.service.moves import Moves
from vallum_registry.service.serving import Serving
from vallum_registry.service.uploads import Uploads
from vallum_registry.store.artifacts import ObjectArtifacts
from vallum_registry.store.spool import FileSpool
from vallum_registry.store.sql import SqlStore


def build(
    config: Config, *, clock: Clock | None = None, ids: Ids | None = None, randomness: random.Random | None = None
) -> Service:
    """Make the parts of the service.

    Args:
        config: read from the environment.
        clock: the machine's, unless given.
        ids: UUIDv7, unless given.
        randomness: the system's, unless given.

    Raises:
        Invalid: the artefact store, a JWKS or the address is not right.
    """
    clock = clock or SystemClock()
    randomness = randomness or system_randomness()
    ids = ids or Uuid7Ids(clock, randomness)
    changes = Changes()
    database = Database(config.database_url)
    store = SqlStore(database, wire.EventWriter(ids).event, changes.announce)
    artifacts = ObjectArtifacts(config.artifacts_url)
    moves = Moves(keys=attestation.load_keys(config.attestation_keys), clock=clock, ids=ids)
    spool = FileSpool(config.data_dir / "uploads")
    uploads = Uploads(store, spool, artifacts, limits=_limits(config), clock=clock, ids=ids)
    servicer = RegistryServicer(uploads, Catalogue(store, artifacts, changes), Serving(store, moves))
    heard = stream.handlers(Decisions(moves, clock=clock), store.within)
    consumer = Consumer(
        "registry",
        heard.keys(),
        each(heard),
        database=database,
        bootstrap=config.kafka,
        clock=clock,
        randomness=randomness,
    )
    return Service(
        package="vallum_registry",
        database=database,
        server=_server(config, servicer, clock),
        relay=Relay(database, bootstrap=config.kafka, clock=clock),
        consumers=[consumer],
        workers={"upload-sweeper": uploads.keep_sweeping},
        on_stop=(changes.close,),
    )


def _limits(config: Config) -> UploadLimits:
    return UploadLimits(
        total_bytes=config.upload_total_bytes,
        files=config.upload_files,
        manifest_bytes=config.upload_manifest_bytes,
        uploads=config.uploads,
        idle_s=config.upload_idle_s,
        keep_s=config.upload_keep_h * 3600,
    )


def _server(config: Config, servicer: RegistryServicer, clock: Clock) -> Server:
    def add(server: grpc.aio.Server) -> None:
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(servicer, server)

    return build_server(config, {"vallum.registry.v1.RegistryService": add}, clock=clock)


def main() -> int:
    """Run the service; the exit code."""
    return start("registry", Config, build)
