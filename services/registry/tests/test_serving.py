"""Deployments: only what is approved serves, one version per environment, and every move is told and remembered."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vallum_common.attestation import SigningKey
from vallum_common.errors import Conflict, Invalid, NotFound
from vallum_registry.domain.deployments import DeploymentState
from vallum_registry.domain.models import Cause
from vallum_registry.domain.states import Verdict


class TestDeploy:
    async def test_approved_version_serves(self, any_registry):
        submission = await any_registry.approved()
        deployment = await any_registry.deploy("1.0.0")
        assert deployment.state is DeploymentState.ACTIVE
        assert deployment.submission_id == submission.submission_id
        assert await any_registry.serving_in() == ["1.0.0"]
        assert await any_registry.store.published() == ["1.0.0 submitted", "1.0.0 ACTIVE in production"]

    async def test_approved_with_conditions_serves(self, registry, given):
        submission = await registry.submit()
        await registry.decide(given.decision(submission, Verdict.APPROVED_WITH_CONDITIONS))
        await registry.deploy("1.0.0")
        assert await registry.serving_in() == ["1.0.0"]

    @pytest.mark.parametrize("verdict", [Verdict.REJECTED, Verdict.NEEDS_REVIEW])
    async def test_version_that_was_not_approved_is_refused(self, registry, given, verdict):
        submission = await registry.submit()
        await registry.decide(given.decision(submission, verdict))
        with pytest.raises(Conflict, match=f"cannot be deployed: it is {verdict}, not APPROVED"):
            await registry.deploy("1.0.0")

    async def test_undecided_and_unknown_versions_are_refused(self, registry):
        await registry.submit()
        with pytest.raises(Conflict, match="it is SUBMITTED, not APPROVED"):
            await registry.deploy("1.0.0")
        with pytest.raises(NotFound, match=r"no version adult-income@9"):
            await registry.deploy("9")

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"key": SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))}, "not signed by a trusted key"),
            ({"sha256": "cd" * 32}, "is about sha256 cdcd"),
            ({"version": "2.0.0"}, "is about 'vallum:adult-income@2.0.0'"),
            ({"passed": False}, "says REJECTED"),
        ],
    )
    async def test_approval_that_is_not_signed_for_these_bytes_is_refused(self, registry, given, changes, reason):
        submission = await registry.submit()
        await registry.decide(given.decision(submission, attestation=given.envelope(submission, **changes)))
        with pytest.raises(Conflict, match=reason):
            await registry.deploy("1.0.0")
        assert await registry.serving_in() == []

    @pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff"])
    async def test_approval_without_an_attestation_is_refused(self, registry, given, envelope):
        await registry.decide(given.decision(await registry.submit(), attestation=envelope))
        with pytest.raises(Conflict, match="cannot be deployed: the attestation"):
            await registry.deploy("1.0.0")

    async def test_next_version_supersedes_the_one_that_serves(self, any_registry):
        await any_registry.approved("1.0.0")
        await any_registry.approved("2.0.0")
        await any_registry.deploy("1.0.0")
        await any_registry.deploy("2.0.0")
        assert await any_registry.serving_in() == ["2.0.0"]
        assert (await any_registry.store.published())[2:] == [
            "1.0.0 ACTIVE in production",
            "1.0.0 SUPERSEDED in production",
            "2.0.0 ACTIVE in production",
        ]
        assert await any_registry.actions("1.0.0") == ["submitted", "approved", "deployed", "superseded"]

    async def test_environments_do_not_disturb_each_other(self, any_registry):
        await any_registry.approved("1.0.0")
        await any_registry.approved("2.0.0")
        await any_registry.deploy("1.0.0", "production")
        await any_registry.deploy("2.0.0", "staging")
        assert await any_registry.serving_in("production") == ["1.0.0"]
        assert await any_registry.serving_in("staging") == ["2.0.0"]

    async def test_deploying_what_serves_changes_nothing(self, any_registry):
        await any_registry.approved()
        first = await any_registry.deploy("1.0.0")
        told = await any_registry.store.published()
        assert await any_registry.deploy("1.0.0") == first
        assert await any_registry.store.published() == told

    async def test_many_at_once_leave_one_serving(self, any_registry):
        versions = [f"{number}.0.0" for number in range(6)]
        for version in versions:
            await any_registry.approved(version)
        await asyncio.gather(*(any_registry.deploy(version) for version in versions))
        (serving,) = await any_registry.serving_in()
        told = (await any_registry.store.published())[len(versions) :]
        assert told[-1] == f"{serving} ACTIVE in production"
        assert sum("ACTIVE" in line for line in told) - sum("SUPERSEDED" in line for line in told) == 1

    @pytest.mark.parametrize("environment", ["", "Production", "a" * 64, "a b", "prod\n", "../x"])
    async def test_environment_that_is_no_name_is_refused(self, registry, environment):
        await registry.approved()
        with pytest.raises(Invalid, match="is not a name"):
            await registry.deploy("1.0.0", environment)


class TestRollback:
    async def test_last_good_version_serves_again(self, any_registry, given):
        for version in ("1.0.0", "2.0.0"):
            await any_registry.approved(version)
            await any_registry.deploy(version)
        replacement = await any_registry.serving.rollback(given.reference("2.0.0"), "production", cause=given.cause)
        assert replacement.ended.state is DeploymentState.ROLLED_BACK
        assert replacement.restored.reference.version == "1.0.0"
        assert await any_registry.serving_in() == ["1.0.0"]
        assert (await any_registry.store.published())[-2:] == [
            "2.0.0 ROLLED_BACK in production",
            "1.0.0 ACTIVE in production",
        ]

    async def test_version_that_was_rolled_back_is_not_brought_back(self, any_registry, given):
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            await any_registry.approved(version)
            await any_registry.deploy(version)
        for version, instead in (("3.0.0", "2.0.0"), ("2.0.0", "1.0.0")):
            replacement = await any_registry.serving.rollback(given.reference(version), "production", cause=given.cause)
            assert replacement.restored.reference.version == instead
        replacement = await any_registry.serving.rollback(given.reference("1.0.0"), "production", cause=given.cause)
        assert replacement.restored is None
        assert await any_registry.serving_in() == []

    async def test_version_in_quarantine_is_passed_over(self, any_registry, given):
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            await any_registry.approved(version)
            await any_registry.deploy(version)
        await any_registry.serving.quarantine(given.reference("2.0.0"), cause=given.cause)
        replacement = await any_registry.serving.rollback(given.reference("3.0.0"), "production", cause=given.cause)
        assert replacement.restored.reference.version == "1.0.0"

    async def test_version_whose_approval_no_longer_verifies_is_passed_over(self, registry, given):
        for version in ("1.0.0", "2.0.0"):
            submission = await registry.approved(version)
            await registry.deploy(version)
            if version == "1.0.0":
                async with registry.store.begin() as unit:
                    known = await unit.submission(submission.submission_id)
                    await unit.update_submission(replace(known, attestation=b"{}"))
        replacement = await registry.serving.rollback(given.reference("2.0.0"), "production", cause=given.cause)
        assert replacement.restored is None

    async def test_version_that_does_not_serve_there_is_refused(self, registry, given):
        await registry.approved()
        await registry.deploy("1.0.0", "staging")
        with pytest.raises(Conflict, match="does not serve in 'production'; nothing does"):
            await registry.serving.rollback(given.reference(), "production", cause=given.cause)
        await registry.approved("2.0.0")
        with pytest.raises(Conflict, match=r"does not serve in 'staging'; adult-income@1.0.0 does"):
            await registry.serving.rollback(given.reference("2.0.0"), "staging", cause=given.cause)


class TestQuarantine:
    async def test_version_is_taken_out_everywhere_and_barred(self, any_registry, given):
        await any_registry.approved("1.0.0")
        await any_registry.approved("2.0.0")
        await any_registry.deploy("1.0.0")
        for environment in ("production", "staging"):
            await any_registry.deploy("2.0.0", environment)
        _, ended = await any_registry.serving.quarantine(given.reference("2.0.0"), cause=given.cause)
        assert sorted(d.environment for d in ended) == ["production", "staging"]
        assert await any_registry.serving_in("production") == []
        assert await any_registry.serving_in("staging") == []
        assert await any_registry.state("2.0.0") == "QUARANTINED"
        with pytest.raises(Conflict, match="it is QUARANTINED"):
            await any_registry.deploy("2.0.0")

    async def test_second_quarantine_changes_nothing(self, registry, given):
        await registry.approved()
        await registry.serving.quarantine(given.reference(), cause=given.cause)
        actions = await registry.actions()
        _, ended = await registry.serving.quarantine(given.reference(), cause=given.cause)
        assert ended == ()
        assert await registry.actions() == actions

    async def test_release_returns_to_the_state_before_and_serves_nowhere(self, any_registry, given):
        await any_registry.approved()
        await any_registry.deploy("1.0.0")
        await any_registry.serving.quarantine(given.reference(), cause=given.cause)
        released = await any_registry.serving.release(given.reference(), cause=Cause("analyst", "false alarm"))
        assert released.state == "APPROVED"
        assert await any_registry.serving_in() == []
        await any_registry.deploy("1.0.0")
        assert await any_registry.serving_in() == ["1.0.0"]

    async def test_verdict_that_arrives_in_quarantine_counts_after_the_release(self, any_registry, given):
        submission = await any_registry.submit()
        await any_registry.serving.quarantine(given.reference(), cause=given.cause)
        await any_registry.decide(given.decision(submission))
        assert await any_registry.state() == "QUARANTINED"
        assert (await any_registry.serving.release(given.reference(), cause=given.cause)).state == "APPROVED"

    async def test_release_of_what_is_not_in_quarantine_is_refused(self, registry, given):
        await registry.submit()
        with pytest.raises(Conflict, match="is SUBMITTED, not in quarantine"):
            await registry.serving.release(given.reference(), cause=given.cause)

    async def test_reason_is_required_and_bounded(self, registry, given):
        await registry.approved()
        for reason in ("", "  "):
            with pytest.raises(Invalid, match="a reason is required"):
                await registry.serving.quarantine(given.reference(), cause=Cause("analyst", reason))
        with pytest.raises(Invalid, match="at most 1000"):
            Cause("analyst", "x" * 1001)


async def test_history_says_who_when_why_and_where(any_registry, given):
    submission = await any_registry.approved()
    deployment = await any_registry.deploy("1.0.0")
    *_, decided, deployed = await any_registry.catalogue.history(given.reference())
    assert (decided.cause.actor, decided.cause.reason) == ("compliance", "policy 1: no rule fired")
    assert (decided.before, decided.after) == ("SUBMITTED", "APPROVED")
    assert deployed.cause == given.cause
    assert deployed.at == deployment.changed_at
    assert deployed.environment == "production"
    assert deployed.reference == submission.reference
