"""Verdicts and corrections: each takes effect once, whenever and however often it arrives."""

from __future__ import annotations

import pytest

from vallum_common.errors import Conflict, NotFound
from vallum_registry.domain.corrections import CorrectionAction
from vallum_registry.domain.models import ModelReference
from vallum_registry.domain.states import Verdict


class TestVerdicts:
    @pytest.mark.parametrize(
        ("verdict", "state"),
        [
            (Verdict.APPROVED, "APPROVED"),
            (Verdict.APPROVED_WITH_CONDITIONS, "APPROVED"),
            (Verdict.REJECTED, "REJECTED"),
            (Verdict.NEEDS_REVIEW, "NEEDS_REVIEW"),
        ],
    )
    async def test_verdict_moves_the_version_and_is_kept(self, any_registry, given, verdict, state):
        decision = given.decision(await any_registry.submit(), verdict)
        await any_registry.decide(decision)
        submission = (await any_registry.catalogue.get(given.reference())).submission
        assert submission.state == state
        assert submission.verdict is verdict
        assert submission.attestation == decision.attestation

    async def test_second_verdict_changes_nothing(self, any_registry, given):
        submission = await any_registry.submit()
        await any_registry.decide(given.decision(submission, Verdict.REJECTED))
        before = await any_registry.catalogue.get(given.reference())
        await any_registry.decide(given.decision(submission, Verdict.APPROVED))
        assert await any_registry.catalogue.get(given.reference()) == before
        assert await any_registry.actions() == ["submitted", "rejected"]

    async def test_verdict_on_an_unknown_submission_is_tried_again(self, registry, given):
        decision = given.decision(await registry.submit(), submission_id="nobody")
        with pytest.raises(NotFound):
            await registry.decide(decision)

    async def test_verdict_on_other_bytes_is_refused(self, registry, given):
        submission = await registry.submit()
        with pytest.raises(Conflict, match="is about sha256 'cdcd"):
            await registry.decide(given.decision(submission, digest="cd" * 32))
        assert await registry.state() == "SUBMITTED"


@pytest.fixture
async def two(any_registry):
    """The first version served in production, the second serves there and in staging."""
    for version in ("1.0.0", "2.0.0"):
        await any_registry.approved(version)
        await any_registry.deploy(version)
    await any_registry.deploy("2.0.0", "staging")
    return any_registry


class TestCorrections:
    async def test_quarantine_brings_the_version_before_back_where_the_trouble_was(self, two, given):
        await two.correct(given.correction("2.0.0"))
        assert await two.state("2.0.0") == "QUARANTINED"
        assert await two.serving_in("production") == ["1.0.0"]
        assert await two.serving_in("staging") == []
        assert (await two.store.published())[-4:] == [
            "2.0.0 QUARANTINED in production",
            "1.0.0 ACTIVE in production",
            "2.0.0 QUARANTINED in staging",
            "correction-1 APPLIED",
        ]
        entry = (await two.catalogue.history(given.reference("1.0.0")))[-1]
        assert (entry.cause.actor, entry.cause.reason, entry.action) == ("playbook", "population drift", "deployed")

    async def test_quarantine_without_an_environment_restores_nothing(self, two, given):
        await two.correct(given.correction("2.0.0", environment=""))
        assert await two.serving_in("production") == []

    async def test_rollback_brings_the_version_before_back_and_bars_nothing(self, two, given):
        await two.correct(given.correction("2.0.0", action=CorrectionAction.ROLLBACK))
        assert await two.state("2.0.0") == "APPROVED"
        assert await two.serving_in("production") == ["1.0.0"]
        assert await two.serving_in("staging") == ["2.0.0"]

    async def test_repeated_correction_changes_nothing_and_is_answered_once(self, two, given):
        await two.correct(given.correction("2.0.0", action=CorrectionAction.ROLLBACK))
        await two.deploy("2.0.0")
        told = await two.store.published()
        await two.correct(given.correction("2.0.0", action=CorrectionAction.ROLLBACK))
        assert await two.store.published() == told
        assert await two.serving_in() == ["2.0.0"]

    @pytest.mark.parametrize("action", CorrectionAction)
    async def test_correction_of_what_is_out_already_is_unnecessary(self, two, given, action):
        await two.correct(given.correction("2.0.0"))
        await two.correct(given.correction("2.0.0", 2, action=action))
        assert (await two.store.published())[-1] == "correction-2 UNNECESSARY"
        assert await two.serving_in() == ["1.0.0"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"reference": ModelReference("nobody", "1.0.0")},
            {"reference": ModelReference("adult-income", "9.0.0")},
            {"reference": ModelReference("adult-income", "2.0.0", "cd" * 32)},
            {"environment": "No Name"},
            {"environment": "", "action": CorrectionAction.ROLLBACK},
        ],
    )
    async def test_correction_that_cannot_be_obeyed_is_answered_and_changes_nothing(self, two, given, changes):
        told = await two.store.published()
        await two.correct(given.correction("2.0.0", **changes))
        assert await two.store.published() == [*told, "correction-1 FAILED"]
        assert await two.state("2.0.0") == "APPROVED"
        assert await two.serving_in() == ["2.0.0"]

    async def test_quarantine_of_a_version_that_serves_nowhere_bars_it(self, registry, given):
        await registry.approved()
        await registry.correct(given.correction())
        assert await registry.state() == "QUARANTINED"
        assert (await registry.store.published())[-1] == "correction-1 APPLIED"
