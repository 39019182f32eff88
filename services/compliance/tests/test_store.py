"""The contract of both stores, held by the fakes and by PostgreSQL alike."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from vallum_common.database import Database, migrate
from vallum_common.testing import START, SequentialIds
from vallum_compliance import wire
from vallum_compliance.domain.audit import Entry, NewEntry, Selection
from vallum_compliance.domain.evidence import Evidence
from vallum_compliance.service import Decisions
from vallum_compliance.signer import VerdictSigner
from vallum_compliance.store import SqlAuditStore, SqlDecisionStore, tables

ODD_NUMBERS = [0.1 + 0.2, 1e-300, -0.0, 1.0, 3, 2**53 + 1]


class Undo(Exception):
    """Leaves a transaction without a commit."""


@pytest.fixture
def decisions(decision_store, policy, signing_key, clock):
    return Decisions(decision_store.store, policy, VerdictSigner(signing_key), clock=clock)


async def decide(decisions, store, given, submission, **changes):
    async with store.begin() as unit:
        await decisions.hear_validation(
            unit, wire.parse_validation(given.validation(submission_id=submission, **changes))
        )
    async with store.begin() as unit:
        await decisions.hear_risk(unit, wire.parse_risk(given.risk(submission_id=submission)))


class TestDecisionStore:
    async def test_unknown_submission_has_empty_evidence_and_no_decision(self, decision_store):
        async with decision_store.store.begin() as unit:
            assert await unit.evidence("s") == Evidence("s")
            assert await unit.decision("s") is None
            assert await unit.newest_decision("m", "1") is None

    async def test_evidence_comes_back_to_the_last_bit(self, decision_store):
        evidence = Evidence("s", {"numbers": ODD_NUMBERS, "text": "é\u0000\n"}, None, {"files": [], "text": "\u0000"})
        async with decision_store.store.begin() as unit:
            await unit.evidence("s")
            await unit.save_evidence(evidence)
        async with decision_store.store.begin() as unit:
            back = await unit.evidence("s")
        assert back == evidence
        assert repr(back.validation["numbers"]) == repr(ODD_NUMBERS)

    async def test_decision_comes_back_equal(self, decision_store, decisions, given):
        await decide(decisions, decision_store.store, given, "s", outcomes={"data_privacy": "FAIL"}, isolation=None)
        decision = await decisions.get(submission_id="s")
        again = await decisions.get(model="adult-income", version="1.2.0")
        assert decision == again
        assert len(decision.judgement.reasons) == 2
        assert (await decisions.evaluate("s")).agrees

    async def test_newest_decision_on_a_version_is_found(self, decision_store, decisions, given, clock):
        for submission in ("s-2", "s-1"):
            await decide(decisions, decision_store.store, given, submission)
            clock.advance(1)
        assert (await decisions.get(model="adult-income", version="1.2.0")).submission_id == "s-1"

    async def test_what_is_rolled_back_was_never_there(self, decision_store, decisions, given):
        store = decision_store.store
        async with store.begin() as unit:
            await decisions.hear_validation(unit, wire.parse_validation(given.validation()))
        with contextlib.suppress(Undo):
            async with store.begin() as unit:
                await decisions.hear_risk(unit, wire.parse_risk(given.risk()))
                raise Undo
        assert await decision_store.published() == 0
        async with store.begin() as unit:
            assert (await unit.evidence(given.submission)).risk is None
            assert await unit.decision(given.submission) is None

    async def test_halves_heard_at_the_same_time_give_one_decision(self, decision_store, decisions, given):
        """Two processes of the consumer group may hear one half each; neither may think the other missing."""

        async def hear_validation(submission):
            async with decision_store.store.begin() as unit:
                message = given.validation(submission_id=submission)
                await decisions.hear_validation(unit, wire.parse_validation(message))

        async def hear_risk(submission):
            async with decision_store.store.begin() as unit:
                await decisions.hear_risk(unit, wire.parse_risk(given.risk(submission_id=submission)))

        submissions = [f"s-{number}" for number in range(10)]
        await asyncio.gather(*(hear(submission) for submission in submissions for hear in (hear_validation, hear_risk)))
        assert await decision_store.published() == len(submissions)


class TestAuditStore:
    async def append(self, store, events):
        async with store.begin() as unit:
            await unit.append([NewEntry(event, START) for event in events])

    async def all(self, store, selection=None, *, start=0, limit=1000):
        async with store.begin() as unit:
            return list(await unit.page(selection or Selection(), start=start, limit=limit))

    async def test_entries_come_back_to_the_last_byte(self, audit_store, given):
        events = [given.audit_event(number) for number in range(3)]
        events.append(replace(given.audit_event(3), headers=(("seen", None), ("note", ""))))
        await self.append(audit_store, events)
        entries = await self.all(audit_store)
        assert entries == [Entry(event, START, index) for index, event in enumerate(events)]
        assert [entry.leaf_hash() for entry in entries] == [NewEntry(event, START).leaf_hash() for event in events]

    async def test_nothing_appended_changes_nothing(self, audit_store):
        await self.append(audit_store, [])
        assert await self.all(audit_store) == []

    async def test_writers_at_the_same_time_leave_no_gap_and_no_double(self, audit_store, given):
        batches = [[given.audit_event(10 * batch + number) for number in range(10)] for batch in range(8)]
        await asyncio.gather(*(self.append(audit_store, batch) for batch in batches))
        entries = await self.all(audit_store)
        assert [entry.index for entry in entries] == list(range(80))
        assert {entry.event.id for entry in entries} == {f"event-{number}" for number in range(80)}
        for batch in batches:  # and each batch lies together, in its order
            start = next(entry.index for entry in entries if entry.event == batch[0])
            assert [entry.event for entry in entries[start : start + 10]] == batch

    async def test_rollback_costs_no_index(self, audit_store, given):
        await self.append(audit_store, [given.audit_event(0)])
        with contextlib.suppress(Undo):
            async with audit_store.begin() as unit:
                await unit.append([NewEntry(given.audit_event(1), START)])
                raise Undo
        await self.append(audit_store, [given.audit_event(2)])
        assert [(e.index, e.event.id) for e in await self.all(audit_store)] == [(0, "event-0"), (1, "event-2")]

    async def test_page_begins_and_ends_where_it_was_told(self, audit_store, given):
        await self.append(audit_store, [given.audit_event(number, key=f"m-{number % 3}") for number in range(9)])
        assert [entry.index for entry in await self.all(audit_store, start=2, limit=4)] == [2, 3, 4, 5]
        only = Selection(model="m-1")
        assert [entry.index for entry in await self.all(audit_store, only, start=2, limit=2)] == [4, 7]

    async def test_start_is_the_first_entry_recorded_since(self, audit_store, given):
        for minute in (0, 1, 2):
            async with audit_store.begin() as unit:
                await unit.append([NewEntry(given.audit_event(minute), START.replace(minute=minute))])
        async with audit_store.begin() as unit:
            starts = [
                await unit.start(selection)
                for selection in (
                    Selection(),
                    Selection(from_index=7),
                    Selection(since=START.replace(minute=1)),
                    Selection(from_index=2, since=START.replace(minute=1)),
                    Selection(since=START.replace(minute=9)),
                )
            ]
        assert starts == [0, 7, 1, 2, 3]

    async def test_call_after_the_commit_is_made_only_then(self, audit_store, given):
        calls = []
        with contextlib.suppress(Undo):
            async with audit_store.begin() as unit:
                unit.after_commit(lambda: calls.append("rolled back"))
                raise Undo
        async with audit_store.begin() as unit:
            unit.after_commit(lambda: calls.append("committed"))
            assert calls == []
        assert calls == ["committed"]


@pytest.fixture
async def postgresql(database):
    opened = Database(database())
    await migrate(opened.engine, "vallum_compliance")
    yield opened
    await opened.close()


@pytest.mark.platform
class TestPostgresql:
    async def test_migrations_make_the_tables_the_store_writes(self, postgresql):
        def differences(connection):
            ours = set(tables.metadata.tables)
            options = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name in ours}
            return compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)

        async with postgresql.engine.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_event_cannot_be_recorded_twice(self, postgresql, given):
        store = SqlAuditStore(postgresql)
        with pytest.raises(IntegrityError):
            async with store.begin() as unit:
                await unit.append([NewEntry(given.audit_event(1), START), NewEntry(given.audit_event(1), START)])

    async def test_leaf_hash_is_kept_beside_the_bytes(self, postgresql, given):
        async with SqlAuditStore(postgresql).begin() as unit:
            await unit.append([NewEntry(given.audit_event(1), START)])
        async with postgresql.transaction() as transaction:
            kept = (await transaction.connection.execute(sa.select(tables.audit_entry.c.leaf_hash))).scalar_one()
        assert kept == NewEntry(given.audit_event(1), START).leaf_hash()

    async def test_policy_that_decided_is_kept_whole(self, postgresql, policy, signing_key, clock, given):
        store = SqlDecisionStore(postgresql, wire.EventWriter(SequentialIds()).event)
        decisions = Decisions(store, policy, VerdictSigner(signing_key), clock=clock)
        await decide(decisions, store, given, "s-1")
        await decide(decisions, store, given, "s-2")
        async with postgresql.transaction() as transaction:
            rows = (await transaction.connection.execute(sa.select(tables.policy))).all()
        assert [(row.digest, row.version, row.content) for row in rows] == [
            (policy.digest, policy.version, policy.text)
        ]
