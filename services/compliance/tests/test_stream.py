"""What each consumer does with its events; the bus itself has its own tests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vallum.risk.v1.risk_pb2 import RiskScored
from vallum.validator.v1.events_pb2 import ValidationCompleted
from vallum_common.errors import Invalid
from vallum_compliance.service import AuditLog, Decisions
from vallum_compliance.signer import VerdictSigner
from vallum_compliance.stream import audit_handler, decision_handlers


class TestDecisions:
    @pytest.fixture
    def handlers(self, fake_decisions, policy, signing_key, clock):
        decisions = Decisions(fake_decisions, policy, VerdictSigner(signing_key), clock=clock)
        return decision_handlers(decisions, lambda unit: unit)

    async def hear(self, handlers, store, given, *messages):
        for number, message in enumerate(messages):
            async with store.begin() as unit:
                await handlers[type(message)](unit, given.event(message, f"event-{number}"))

    def test_it_hears_exactly_the_two_halves(self, handlers):
        assert set(handlers) == {ValidationCompleted, RiskScored}

    async def test_two_halves_make_a_decision(self, handlers, fake_decisions, given):
        await self.hear(handlers, fake_decisions, given, given.risk(), given.validation())
        assert [decision.submission_id for decision in fake_decisions.state.published] == [given.submission]

    @pytest.mark.parametrize("message", [ValidationCompleted(), RiskScored()])
    async def test_incomplete_event_is_invalid_and_changes_nothing(self, handlers, fake_decisions, given, message):
        with pytest.raises(Invalid):
            await self.hear(handlers, fake_decisions, given, message)
        assert fake_decisions.state.evidence == {}


class TestAudit:
    async def test_a_batch_is_recorded_in_its_order_whatever_it_is_about(self, fake_audit, clock, given):
        record = audit_handler(AuditLog(fake_audit, clock=clock), lambda unit: unit)
        events = [given.event(given.validation(), "a"), given.event(RiskScored(), "b", offset=9)]
        async with fake_audit.begin() as unit:
            await record(unit, events)
        assert [(entry.index, entry.event.id, entry.event.offset) for entry in fake_audit.entries] == [
            (0, "a", 0),
            (1, "b", 9),
        ]

    async def test_event_that_was_not_received_is_refused(self, fake_audit, clock, given):
        record = audit_handler(AuditLog(fake_audit, clock=clock), lambda unit: unit)
        async with fake_audit.begin() as unit:
            with pytest.raises(Invalid):
                await record(unit, [replace(given.event(RiskScored(), "b"), record=None)])
