"""Deciding once, whatever the order; answering; replaying."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
from dataclasses import replace

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement as in_toto
from in_toto_attestation.v1.statement_pb2 import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from vallum_common.attestation import admit, resource_uri, verify
from vallum_common.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from vallum_common.testing import START
from vallum_compliance import wire
from vallum_compliance.domain.audit import Selection
from vallum_compliance.domain.decision import Verdict
from vallum_compliance.policy import parse_policy
from vallum_compliance.service import AuditLog, Decisions
from vallum_compliance.service.audit import PAGE_ENTRIES
from vallum_compliance.signer import VerdictSigner


class Undo(Exception):
    """Leaves a transaction without a commit."""


REFUSE_ALL = b"""
version: "2"
source: a test
rules: [{name: all, severity: reject, when: "true", message: nothing passes}]
"""


@pytest.fixture
def decisions(fake_decisions, policy, signing_key, clock):
    return Decisions(fake_decisions, policy, VerdictSigner(signing_key), clock=clock)


async def hear(decisions, store, *messages):
    for message in messages:
        async with store.begin() as unit:
            if message.DESCRIPTOR.name == "RiskScored":
                await decisions.hear_risk(unit, wire.parse_risk(message))
            else:
                await decisions.hear_validation(unit, wire.parse_validation(message))


class TestDeciding:
    async def test_one_half_decides_nothing(self, decisions, fake_decisions, given):
        await hear(decisions, fake_decisions, given.validation())
        assert fake_decisions.state.published == []
        with pytest.raises(NotFound, match="may still be"):
            await decisions.get(submission_id=given.submission)

    async def test_every_order_and_repetition_gives_the_same_single_decision(
        self, fake_decisions, policy, signing_key, clock, given
    ):
        messages = (given.validation(), given.risk(), given.validation(), given.risk())
        outcomes = []
        for order in itertools.permutations(messages):
            store = type(fake_decisions)()
            await hear(Decisions(store, policy, VerdictSigner(signing_key), clock=clock), store, *order)
            outcomes.append(store.state.published)
        assert all(len(published) == 1 for published in outcomes)
        assert all(published == outcomes[0] for published in outcomes)

    async def test_later_scoring_of_a_decided_submission_changes_nothing(self, decisions, fake_decisions, given, clock):
        await hear(decisions, fake_decisions, given.validation(), given.risk())
        before = await decisions.get(submission_id=given.submission)
        clock.advance(3600)
        await hear(decisions, fake_decisions, given.risk(high=["technical.model_vulnerabilities"]))
        assert await decisions.get(submission_id=given.submission) == before
        assert fake_decisions.state.published == [before]

    async def test_decision_names_policy_and_input_and_keeps_both(self, decisions, fake_decisions, given, policy):
        await hear(decisions, fake_decisions, given.validation(), given.risk())
        decision = await decisions.get(model="adult-income", version="1.2.0")
        assert decision.verdict == Verdict.APPROVED
        assert decision.policy_digest == policy.digest
        kept = parse_policy(fake_decisions.state.policies[decision.policy_digest].encode(), name="kept")
        assert kept.judge(decision.policy_input) == decision.judgement

    async def test_halves_about_other_bytes_are_not_decided_on(self, decisions, fake_decisions, given):
        await hear(decisions, fake_decisions, given.validation())
        with pytest.raises(Conflict):
            await hear(decisions, fake_decisions, given.risk(model=given.reference(digest="cd" * 32)))
        assert fake_decisions.state.published == []

    async def test_unknown_submission_is_not_found(self, decisions):
        with pytest.raises(NotFound, match="'nobody'"):
            await decisions.get(submission_id="nobody")
        with pytest.raises(NotFound, match="'m'"):
            await decisions.get(model="m", version="1")


class TestAttestation:
    async def test_approval_admits_exactly_these_bytes(self, decisions, fake_decisions, given, signing_key, policy):
        await hear(decisions, fake_decisions, given.validation(), given.risk())
        decision = await decisions.get(submission_id=given.submission)
        keys = {signing_key.key_id: signing_key.private.public_key()}
        uri = resource_uri("adult-income", "1.2.0")
        statement = admit(decision.attestation, keys, sha256=given.digest, resource=uri)
        assert (statement.verdict, statement.policy.sha256) == ("APPROVED", policy.digest)
        assert statement.verified_at == START
        scan = hashlib.sha256(decision.scan_attestation).hexdigest()
        assert [entry.sha256 for entry in statement.inputs] == [decision.policy_input.digest, scan]
        with pytest.raises(Denied):
            admit(decision.attestation, keys, sha256="cd" * 32)

    async def test_refusal_is_signed_and_admits_nothing(self, decisions, fake_decisions, given, signing_key):
        await hear(decisions, fake_decisions, given.validation(scan=given.scan("MALICIOUS")), given.risk())
        decision = await decisions.get(submission_id=given.submission)
        keys = {signing_key.key_id: signing_key.private.public_key()}
        assert verify(decision.attestation, keys).verdict == "REJECTED"
        with pytest.raises(Denied, match="REJECTED"):
            admit(decision.attestation, keys, sha256=given.digest)

    async def test_a_stranger_verifies_the_scan_with_tools_of_others(
        self, decisions, fake_decisions, given, signing_key
    ):
        """securesystemslib reads the envelope and in-toto-attestation the statement; none of our code is asked."""
        scan = given.scan("MALICIOUS", given.file("model.pkl", "pickle", "MALICIOUS", ["pickle.global-denied"]))
        await hear(decisions, fake_decisions, given.validation(scan=scan), given.risk())
        decision = await decisions.get(submission_id=given.submission)
        public = signing_key.private.public_key()
        stranger = SSlibKey.from_crypto(public, keyid=signing_key.key_id)
        for signed in (decision.scan_attestation, decision.attestation):
            envelope = Envelope.from_dict(json.loads(signed))
            envelope.verify([stranger], 1)
            statement = json_format.ParseDict(json.loads(envelope.payload), Statement())
            in_toto.Statement.copy_from_pb(statement).validate()
            assert statement.subject[0].digest["sha256"] == given.digest
        document = json.loads(Envelope.from_dict(json.loads(decision.scan_attestation)).payload)
        assert document["predicateType"] == "https://vallum.dev/attestation/scan/v1"
        assert document["predicate"]["files"][0]["findings"][0]["rule"] == "pickle.global-denied"
        tampered = json.loads(decision.scan_attestation)
        tampered["payload"] = json.loads(decision.attestation)["payload"]
        with pytest.raises(VerificationError):
            Envelope.from_dict(tampered).verify([stranger], 1)

    async def test_the_scan_is_no_verdict(self, decisions, fake_decisions, given, signing_key):
        """Both are signed with one key: what admits must not take a clean scan for an approval."""
        await hear(decisions, fake_decisions, given.validation(), given.risk())
        decision = await decisions.get(submission_id=given.submission)
        keys = {signing_key.key_id: signing_key.private.public_key()}
        with pytest.raises(Invalid, match="predicateType"):
            admit(decision.scan_attestation, keys, sha256=given.digest)

    async def test_evidence_from_before_scans_were_attested_is_decided_without(
        self, decisions, fake_decisions, given, signing_key
    ):
        await hear(decisions, fake_decisions, given.validation())
        kept = fake_decisions.state.evidence
        kept[given.submission] = replace(kept[given.submission], scan=None)
        await hear(decisions, fake_decisions, given.risk())
        decision = await decisions.get(submission_id=given.submission)
        assert decision.scan_attestation == b""
        keys = {signing_key.key_id: signing_key.private.public_key()}
        assert len(verify(decision.attestation, keys).inputs) == 1


class TestEvaluating:
    async def test_policy_in_force_agrees_with_itself(self, decisions, fake_decisions, given):
        await hear(decisions, fake_decisions, given.validation(outcomes={"data_privacy": "FAIL"}), given.risk())
        evaluation = await decisions.evaluate(given.submission)
        assert evaluation.agrees
        assert evaluation.judgement.verdict == Verdict.REJECTED

    async def test_another_policy_disagrees_and_changes_nothing(
        self, decisions, fake_decisions, given, signing_key, clock
    ):
        await hear(decisions, fake_decisions, given.validation(), given.risk())
        strict = parse_policy(REFUSE_ALL, name="strict")
        later = Decisions(fake_decisions, strict, VerdictSigner(signing_key), clock=clock)
        evaluation = await later.evaluate(given.submission)
        assert not evaluation.agrees
        assert evaluation.policy_digest == strict.digest
        assert (await later.get(submission_id=given.submission)).verdict == Verdict.APPROVED

    async def test_undecided_submission_cannot_be_evaluated(self, decisions, fake_decisions, given):
        await hear(decisions, fake_decisions, given.validation())
        with pytest.raises(NotFound):
            await decisions.evaluate(given.submission)


class TestReplaying:
    async def collect(self, log, selection=None):
        return [entry async for entry in log.replay(selection or Selection(), follow=False)]

    async def append(self, log, store, events):
        async with store.begin() as unit:
            await log.append(unit, events)

    async def test_long_log_is_read_in_pages(self, fake_audit, clock, given):
        log = AuditLog(fake_audit, clock=clock)
        events = [given.audit_event(number) for number in range(2 * PAGE_ENTRIES)]
        await self.append(log, fake_audit, events)
        assert [entry.event for entry in await self.collect(log)] == events
        assert fake_audit.largest_page == PAGE_ENTRIES

    async def test_empty_log_replays_nothing(self, fake_audit, clock):
        assert await self.collect(AuditLog(fake_audit, clock=clock)) == []

    async def test_selection_is_applied(self, fake_audit, clock, given):
        log = AuditLog(fake_audit, clock=clock)
        for number in range(6):
            await self.append(log, fake_audit, [given.audit_event(number, key=f"model-{number % 2}")])
            clock.advance(60)
        indexes = [
            [entry.index for entry in await self.collect(log, selection)]
            for selection in (
                Selection(from_index=4),
                Selection(model="model-1"),
                Selection(since=START.replace(minute=3)),
                Selection(from_index=1, since=START.replace(minute=2), model="model-0"),
                Selection(from_index=99),
            )
        ]
        assert indexes == [[4, 5], [1, 3, 5], [3, 4, 5], [2, 4], []]

    async def test_follower_gets_what_comes_without_waiting_for_the_poll(self, fake_audit, clock, given):
        log = AuditLog(fake_audit, clock=clock, poll_s=3600)
        await self.append(log, fake_audit, [given.audit_event(0)])
        stream = log.replay(Selection(), follow=True)
        assert (await anext(stream)).index == 0
        waiting = asyncio.ensure_future(anext(stream))
        await self.append(log, fake_audit, [given.audit_event(1)])
        assert (await waiting).index == 1

    async def test_follower_gets_what_another_process_appends(self, fake_audit, clock, given):
        log, other = AuditLog(fake_audit, clock=clock, poll_s=0), AuditLog(fake_audit, clock=clock)
        stream = log.replay(Selection(from_index=1), follow=True)
        waiting = asyncio.ensure_future(anext(stream))
        await self.append(other, fake_audit, [given.audit_event(0), given.audit_event(1)])
        assert (await waiting).event.id == "event-1"

    async def test_those_who_follow_are_told_where_to_go_on_when_it_stops(self, fake_audit, clock, given):
        log = AuditLog(fake_audit, clock=clock, poll_s=3600)
        await self.append(log, fake_audit, [given.audit_event(0)])
        stream = log.replay(Selection(), follow=True)
        assert (await anext(stream)).index == 0
        waiting = asyncio.ensure_future(anext(stream))
        for _ in range(10):  # until it waits
            await asyncio.sleep(0)
        log.close()
        with pytest.raises(Unavailable, match="from index 1"):
            await waiting
        assert len(await self.collect(log)) == 1  # what does not follow ends by itself

    async def test_append_that_is_rolled_back_leaves_no_gap(self, fake_audit, clock, given):
        log = AuditLog(fake_audit, clock=clock)
        with contextlib.suppress(Undo):
            async with fake_audit.begin() as unit:
                await log.append(unit, [given.audit_event(0)])
                raise Undo
        await self.append(log, fake_audit, [given.audit_event(1)])
        assert [entry.index for entry in await self.collect(log)] == [0]
