"""Questions: versions, pages, histories, lineage, waiting for a verdict, and bytes that are what they should be."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from vallum_common.errors import Conflict, NotFound, Unavailable
from vallum_registry.domain.models import ModelReference
from vallum_registry.domain.states import Verdict


class TestVersions:
    async def test_version_is_told_with_all_its_deployments(self, any_registry, given):
        for version in ("1.0.0", "2.0.0"):
            await any_registry.approved(version)
            await any_registry.deploy(version)
        details = await any_registry.catalogue.get(given.reference("1.0.0"))
        assert details.submission.reference.name == "adult-income@1.0.0"
        assert [deployment.state for deployment in details.deployments] == ["SUPERSEDED"]

    async def test_unknown_version_is_not_found(self, any_registry, given):
        for ask in (any_registry.catalogue.get, any_registry.catalogue.family, any_registry.catalogue.history):
            with pytest.raises(NotFound, match=r"adult-income@1\.0\.0"):
                await ask(given.reference())

    async def test_pages_are_newest_first_and_lose_nothing_when_more_arrive(self, any_registry):
        for number in range(5):
            await any_registry.submit(f"{number}.0.0")
        page = await any_registry.catalogue.page(model="", before=None, size=2)
        await any_registry.submit("5.0.0")
        seen = [details.submission.reference.version for details in page.versions]
        while page.next_before is not None:
            page = await any_registry.catalogue.page(model="", before=page.next_before, size=2)
            seen += [details.submission.reference.version for details in page.versions]
        assert seen == ["4.0.0", "3.0.0", "2.0.0", "1.0.0", "0.0.0"]

    async def test_page_can_be_of_one_model_and_says_what_serves(self, any_registry):
        await any_registry.approved()
        await any_registry.deploy("1.0.0")
        await any_registry.submit(model="other")
        (details,) = (await any_registry.catalogue.page(model="adult-income", before=None, size=10)).versions
        assert [deployment.environment for deployment in details.deployments] == ["production"]
        assert (await any_registry.catalogue.page(model="nobody", before=None, size=10)).versions == ()

    async def test_history_of_a_model_is_that_of_its_versions_oldest_first(self, any_registry):
        await any_registry.submit("1.0.0")
        await any_registry.submit("2.0.0")
        await any_registry.submit("1.0.0", model="other")
        entries = await any_registry.catalogue.history(ModelReference("adult-income", ""))
        assert [entry.reference.version for entry in entries] == ["1.0.0", "2.0.0"]


class TestLineage:
    async def test_ancestors_end_where_the_registry_knows_no_more(self, any_registry, given):
        await any_registry.submit("2.0.0", parent="adult-income@1.0.0")
        await any_registry.submit("3.0.0", parent="adult-income@2.0.0")
        await any_registry.submit("4.0.0", parent="adult-income@3.0.0")
        family = await any_registry.catalogue.family(given.reference("3.0.0"))
        assert [(a.version, bool(a.digest)) for a in family.ancestors] == [("2.0.0", True), ("1.0.0", False)]
        assert [child.version for child in family.children] == ["4.0.0"]
        assert [dataset.name for dataset in family.submission.origin.datasets] == ["adult"]

    async def test_manifests_that_name_each_other_in_a_circle_do_no_harm(self, any_registry, given):
        await any_registry.submit("1.0.0", parent="adult-income@2.0.0")
        await any_registry.submit("2.0.0", parent="adult-income@1.0.0")
        family = await any_registry.catalogue.family(given.reference("1.0.0"))
        assert [ancestor.version for ancestor in family.ancestors] == ["2.0.0"]
        await any_registry.submit("3.0.0", parent="adult-income@3.0.0")
        assert (await any_registry.catalogue.family(given.reference("3.0.0"))).ancestors == ()


class TestWatch:
    async def test_tells_the_state_now_and_ends_with_the_verdict(self, any_registry, given):
        submission = await any_registry.submit()
        watched = any_registry.catalogue.watch(submission.submission_id)
        assert (await anext(watched)).state == "SUBMITTED"
        ending = asyncio.create_task(anext(watched))
        await asyncio.sleep(0)
        await any_registry.decide(given.decision(submission, Verdict.REJECTED))
        assert (await ending).verdict is Verdict.REJECTED
        assert [state async for state in watched] == []

    async def test_decided_submission_is_told_at_once(self, registry, given):
        submission = await registry.approved()
        assert [s.state async for s in registry.catalogue.watch(submission.submission_id)] == ["APPROVED"]

    async def test_those_who_watch_are_told_when_it_stops(self, registry, waiters):
        submission = await registry.submit()
        watched = registry.catalogue.watch(submission.submission_id)
        assert (await anext(watched)).state == "SUBMITTED"
        waiting = asyncio.create_task(anext(watched))
        await asyncio.sleep(0)
        waiters.close()
        with pytest.raises(Unavailable, match="watch submission"):
            await waiting

    async def test_unknown_submission_is_not_found(self, registry):
        with pytest.raises(NotFound, match="no submission 'nobody'"):
            await anext(registry.catalogue.watch("nobody"))


class TestDownload:
    async def test_bytes_are_those_of_the_digest(self, any_registry, given):
        submission = await any_registry.submit()
        digest = submission.reference.digest
        content = b"".join([piece async for piece in any_registry.catalogue.download(digest)])
        assert hashlib.sha256(content).hexdigest() == digest

    async def test_bytes_no_submission_has_are_not_found(self, registry):
        async def piece():
            yield b"secret"

        digest = hashlib.sha256(b"secret").hexdigest()
        await registry.artifacts.put(digest, 6, piece())
        with pytest.raises(NotFound, match="no submission has a file"):
            await anext(registry.catalogue.download(digest))

    @pytest.mark.parametrize("damaged", [b"adult-income-1.0.1", b"adult", b"adult-income-1.0.0 and more"])
    async def test_damaged_bytes_never_end_well(self, registry, tmp_path, damaged):
        digest = (await registry.submit()).reference.digest
        (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).write_bytes(damaged)
        with pytest.raises(Conflict, match="the artefact is damaged"):
            [piece async for piece in registry.catalogue.download(digest)]

    async def test_lost_bytes_are_not_found(self, registry, tmp_path):
        digest = (await registry.submit()).reference.digest
        (tmp_path / "artifacts" / "sha256" / digest[:2] / digest).unlink()
        with pytest.raises(NotFound, match="recorded but missing"):
            await anext(registry.catalogue.download(digest))
