"""The only room that constructs things."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import grpc
from google.protobuf.message import Message

from vallum.compliance.v1 import compliance_service_pb2_grpc as services
from vallum.risk.v1.risk_pb2 import RiskScored
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.attestation import load_signing_key
from vallum_common.bus.consumer import BatchHandler, Consumer, each
from vallum_common.bus.relay import Relay
from vallum_common.bus.topics import all_topics
from vallum_common.clock import Clock, Ids, SystemClock, Uuid7Ids
from vallum_common.database import Database
from vallum_common.lifecycle import Service, build_server, start, system_randomness
from vallum_compliance.config import Config
from vallum_compliance.grpc_api import AuditApi, ComplianceApi
from vallum_compliance.policy import load_policy
from vallum_compliance.service import AuditLog, Decisions
from vallum_compliance.signer import VerdictSigner
from vallum_compliance.store import SqlAuditStore, SqlAuditUnit, SqlDecisionStore
from vallum_compliance.stream import audit_handler, decision_handlers
from vallum_compliance.wire import EventWriter


def build(
    config: Config, *, clock: Clock | None = None, ids: Ids | None = None, randomness: random.Random | None = None
) -> Service:
    """Compliance, ready to run.

    Args:
        config: its settings.
        clock: the machine's, unless a test brings another.
        ids: for events; UUIDs of version 7 by default.
        randomness: for ids and jitter; the system's by default.

    Raises:
        Invalid: the signing key, the policy or the JWKS is not right; the line says how.
    """
    clock, randomness = clock or SystemClock(), randomness or system_randomness()
    database = Database(config.database_url)
    decision_store = SqlDecisionStore(database, EventWriter(ids or Uuid7Ids(clock, randomness)).event)
    signer = VerdictSigner(load_signing_key(config.signing_key))
    decisions = Decisions(decision_store, load_policy(config.policy), signer, clock=clock)
    log = AuditLog(SqlAuditStore(database), clock=clock)

    def consumer(name: str, messages: Collection[type[Message]], handle: BatchHandler) -> Consumer:
        return Consumer(
            name, messages, handle, database=database, bootstrap=config.kafka, clock=clock, randomness=randomness
        )

    return Service(
        package="vallum_compliance",
        database=database,
        server=build_server(config, _apis(decisions, log), clock=clock),
        relay=Relay(database, bootstrap=config.kafka, clock=clock),
        consumers=(
            consumer(
                "compliance",
                [ValidationCompleted, RiskScored],
                each(decision_handlers(decisions, decision_store.within)),
            ),
            consumer("audit", [topic.message_type for topic in all_topics()], audit_handler(log, SqlAuditUnit)),
        ),
        on_stop=(log.close,),
    )


def _apis(decisions: Decisions, log: AuditLog) -> dict[str, Callable[[grpc.aio.Server], None]]:
    return {
        "vallum.compliance.v1.ComplianceService": lambda server: services.add_ComplianceServiceServicer_to_server(
            ComplianceApi(decisions), server
        ),
        "vallum.compliance.v1.AuditService": lambda server: services.add_AuditServiceServicer_to_server(
            AuditApi(log), server
        ),
    }


def main() -> int:
    """Run the service; returns its exit code."""
    return start("compliance", Config, build)
