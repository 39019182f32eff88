"""Evidence and decisions in PostgreSQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from vallum_common.bus.event import Event
from vallum_common.database import Database, Transaction
from vallum_compliance.domain.decision import Decision, Judgement, Reason, Severity, Verdict
from vallum_compliance.domain.evidence import Document, Evidence, Json, ModelReference, PolicyInput, canonical_json
from vallum_compliance.service import Policy
from vallum_compliance.store import tables


class SqlDecisionUnit:
    """One transaction.

    Args:
        transaction: of the database or of the bus.
        to_event: makes the event that tells of a decision.
    """

    def __init__(self, transaction: Transaction, to_event: Callable[[Decision], Event]) -> None:
        self._transaction = transaction
        self._to_event = to_event

    async def evidence(self, submission_id: str) -> Evidence:
        """What is known so far. The row is made where it is missing, and locked: of two processes that hear one half
        each, the second waits here and then sees both."""
        table, connection = tables.evidence, self._transaction.connection
        await connection.execute(insert(table).on_conflict_do_nothing().values(submission_id=submission_id))
        query = sa.select(table).where(table.c.submission_id == submission_id).with_for_update()
        row = (await connection.execute(query)).one()
        return Evidence(submission_id, _parsed(row.validation), _parsed(row.risk), _parsed(row.scan))

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep what is known."""
        table = tables.evidence
        await self._transaction.connection.execute(
            sa.update(table)
            .where(table.c.submission_id == evidence.submission_id)
            .values(
                validation=_written(evidence.validation), risk=_written(evidence.risk), scan=_written(evidence.scan)
            )
        )

    async def decision(self, submission_id: str) -> Decision | None:
        """The decision on a submission; `None` where there is none yet."""
        query = sa.select(tables.decision).where(tables.decision.c.submission_id == submission_id)
        return _decision((await self._transaction.connection.execute(query)).one_or_none())

    async def newest_decision(self, model: str, version: str) -> Decision | None:
        """The newest decision on a version; `None` where there is none."""
        table = tables.decision
        query = (
            sa.select(table)
            .where(table.c.model == model, table.c.version == version)
            .order_by(table.c.decided_at.desc(), table.c.submission_id.desc())
            .limit(1)
        )
        return _decision((await self._transaction.connection.execute(query)).one_or_none())

    async def save_decision(self, decision: Decision, policy: Policy) -> None:
        """Keep a decision, and the text of the policy that made it."""
        connection = self._transaction.connection
        kept = {"digest": policy.digest, "version": policy.version, "content": policy.text}
        await connection.execute(insert(tables.policy).on_conflict_do_nothing().values(kept))
        await connection.execute(sa.insert(tables.decision).values(_row(decision)))

    def publish(self, decision: Decision) -> None:
        """Tell the others, if and only if the transaction commits."""
        self._transaction.publish(self._to_event(decision))


class SqlDecisionStore:
    """Evidence and decisions.

    Args:
        database: of compliance.
        to_event: makes the event that tells of a decision.
    """

    def __init__(self, database: Database, to_event: Callable[[Decision], Event]) -> None:
        self._database = database
        self._to_event = to_event

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlDecisionUnit]:
        """A transaction of its own."""
        async with self._database.transaction() as transaction:
            yield self.within(transaction)

    def within(self, transaction: Transaction) -> SqlDecisionUnit:
        """A unit in a transaction of the bus."""
        return SqlDecisionUnit(transaction, self._to_event)


def _row(decision: Decision) -> dict[str, Any]:
    reasons: list[Json] = [
        {"rule": reason.rule, "severity": reason.severity, "message": reason.message, "values": reason.values}
        for reason in decision.judgement.reasons
    ]
    return {
        "submission_id": decision.submission_id,
        "model": decision.model.id,
        "version": decision.model.version,
        "digest": decision.model.digest,
        "verdict": decision.verdict,
        "reasons": canonical_json(reasons),
        "policy_digest": decision.policy_digest,
        "input": decision.policy_input.text,
        "input_digest": decision.policy_input.digest,
        "attestation": decision.attestation,
        "scan_attestation": decision.scan_attestation,
        "decided_at": decision.decided_at,
    }


def _decision(row: Any) -> Decision | None:
    if row is None:
        return None
    reasons = tuple(
        Reason(reason["rule"], Severity(reason["severity"]), reason["message"], reason["values"])
        for reason in json.loads(row.reasons)
    )
    return Decision(
        submission_id=row.submission_id,
        model=ModelReference(row.model, row.version, row.digest),
        judgement=Judgement(Verdict(row.verdict), reasons),
        policy_digest=row.policy_digest,
        policy_input=PolicyInput(row.input),
        decided_at=row.decided_at,
        attestation=row.attestation,
        scan_attestation=row.scan_attestation,
    )


def _parsed(text: str | None) -> Document | None:
    return None if text is None else dict(json.loads(text))


def _written(document: Document | None) -> str | None:
    return None if document is None else canonical_json(document)
