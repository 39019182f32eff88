"""Evidence and profiles in PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from vallum_common.bus.event import Event
from vallum_common.database import Database, Transaction
from vallum_risk.domain import Count, Evidence, EvidenceValue, Measurement, ModelReference, RiskProfile, Sign

metadata: Final = sa.MetaData()

evidence_table: Final = sa.Table(
    "evidence",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("submission_id", sa.Text, nullable=False),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("content", postgresql.JSONB, nullable=False),
)

profile_table: Final = sa.Table(
    "profile",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("overall", sa.Float, nullable=False, index=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ProfileCodec:
    """What the store needs from `wire`, which it may not import.

    Args:
        encode: profile to the bytes that are kept.
        decode: and back.
        to_event: profile to the event that tells of it.
    """

    encode: Callable[[RiskProfile], bytes]
    decode: Callable[[bytes], RiskProfile]
    to_event: Callable[[RiskProfile], Event]


class SqlUnit:
    """One transaction on the risk database.

    Args:
        transaction: which.
        codec: turns profiles into bytes and events.
    """

    def __init__(self, transaction: Transaction, codec: ProfileCodec) -> None:
        self._transaction = transaction
        self._codec = codec

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep the evidence of a submission, in place of what was kept for it."""
        values = {
            "model": evidence.reference.model,
            "version": evidence.reference.version,
            "digest": evidence.reference.digest,
            "submission_id": evidence.submission_id,
            "tier": evidence.tier,
            "content": {name: _to_json(value) for name, value in evidence.items.items()},
        }
        await self._upsert(evidence_table, values)

    async def evidence_of(self, model: str, version: str) -> Evidence | None:
        """The evidence of a version, locked until the transaction ends."""
        query = sa.select(evidence_table).where(evidence_table.c.model == model, evidence_table.c.version == version)
        row = (await self._transaction.connection.execute(query.with_for_update())).one_or_none()
        if row is None:
            return None
        return Evidence(
            reference=ModelReference(row.model, row.version, row.digest),
            submission_id=row.submission_id,
            tier=row.tier,
            items={name: _from_json(value) for name, value in row.content.items()},
        )

    async def save_profile(self, profile: RiskProfile) -> None:
        """Keep a profile as the newest of its version and publish `RiskScored`."""
        values = {
            "model": profile.reference.model,
            "version": profile.reference.version,
            "overall": profile.overall.score,
            "content": self._codec.encode(profile),
        }
        await self._upsert(profile_table, values)
        self._transaction.publish(self._codec.to_event(profile))

    async def profile_of(self, model: str, version: str) -> RiskProfile | None:
        """The newest profile of a version."""
        query = sa.select(profile_table.c.content).where(
            profile_table.c.model == model, profile_table.c.version == version
        )
        content = (await self._transaction.connection.execute(query)).scalar_one_or_none()
        return None if content is None else self._codec.decode(content)

    async def register(self, *, limit: int, offset: int) -> tuple[RiskProfile, ...]:
        """The newest profiles of all versions, worst overall score first."""
        query = (
            sa.select(profile_table.c.content)
            .order_by(profile_table.c.overall.desc(), profile_table.c.model, profile_table.c.version)
            .limit(limit)
            .offset(offset)
        )
        return tuple(map(self._codec.decode, (await self._transaction.connection.execute(query)).scalars()))

    async def _upsert(self, table: sa.Table, values: Mapping[str, Any]) -> None:
        statement = insert(table).values(values)
        await self._transaction.connection.execute(
            statement.on_conflict_do_update(index_elements=["model", "version"], set_=dict(values))
        )


class SqlStore:
    """The risk database.

    Args:
        database: the service's own.
        codec: turns profiles into bytes and events.
    """

    def __init__(self, database: Database, codec: ProfileCodec) -> None:
        self._database = database
        self._codec = codec

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[SqlUnit]:
        """Open a transaction."""
        async with self._database.transaction() as transaction:
            yield self.within(transaction)

    def within(self, transaction: Transaction) -> SqlUnit:
        """A unit inside a consumer's transaction."""
        return SqlUnit(transaction, self._codec)


_SHAPES: Final = {"measurement": Measurement, "count": Count}


def _to_json(value: EvidenceValue) -> Mapping[str, Any]:
    if isinstance(value, Sign):
        return {"sign": value.value}
    return {type(value).__name__.lower(): asdict(value)}


def _from_json(document: Mapping[str, Any]) -> EvidenceValue:
    ((shape, content),) = document.items()
    value: EvidenceValue = Sign(content) if shape == "sign" else _SHAPES[shape](**content)
    return value
