"""Builds the risk service; the only room that constructs things."""

from __future__ import annotations

import random

from vallum.risk.v1 import risk_pb2, risk_service_pb2_grpc
from vallum_common.bus.consumer import Consumer, each
from vallum_common.bus.relay import Relay
from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.database import Database
from vallum_common.lifecycle import Service, build_server, start, system_randomness
from vallum_risk import stream, wire
from vallum_risk.config import Config
from vallum_risk.grpc_api import RiskServicer
from vallum_risk.model import load_risk_model
from vallum_risk.service import RiskRegister
from vallum_risk.store import ProfileCodec, SqlStore


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
        Invalid: the risk model or the JWKS is not right.
    """
    clock = clock or SystemClock()
    randomness = randomness or system_randomness()
    events = wire.EventWriter(ids or Uuid7Ids(clock, randomness))
    database = Database(config.database_url)
    store = SqlStore(
        database,
        ProfileCodec(
            encode=lambda profile: wire.profile_message(profile).SerializeToString(),
            decode=lambda content: wire.profile_from(risk_pb2.RiskProfile.FromString(content)),
            to_event=events.event,
        ),
    )
    register = RiskRegister(store, load_risk_model(config.risk_model), clock=clock)
    heard = stream.handlers(register, store.within)
    return Service(
        package="vallum_risk",
        database=database,
        server=build_server(
            config,
            {
                "vallum.risk.v1.RiskService": lambda server: risk_service_pb2_grpc.add_RiskServiceServicer_to_server(
                    RiskServicer(register), server
                )
            },
            clock=clock,
        ),
        relay=Relay(database, bootstrap=config.kafka, clock=clock),
        consumers=[
            Consumer(
                "risk",
                heard.keys(),
                each(heard),
                database=database,
                bootstrap=config.kafka,
                clock=clock,
                randomness=randomness,
            )
        ],
    )


def main() -> int:
    """Run the service; the exit code."""
    return start("risk", Config, build)
