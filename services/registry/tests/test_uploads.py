"""Submission: bytes that match become a version once; everything else is refused, resumable or both."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from dataclasses import replace

import pytest

from vallum_common.errors import Conflict, Exhausted, Invalid, Unavailable
from vallum_registry.domain.models import ModelReference
from vallum_registry.domain.uploads import Chunk, Progress, UploadLimits, plan_upload


@pytest.fixture
def contents(given):
    """Three files."""
    return given.contents()


@pytest.fixture
def sequence(given, contents):
    """Their bytes."""
    return given.sequence(contents)


async def none():
    """No chunk at all."""
    for chunk in ():
        yield chunk


async def cut(chunks, count):
    """Some chunks, then the connection breaks."""
    for _ in range(count):
        yield await anext(chunks)
    raise ConnectionError("the client is gone")


async def stored(registry, sha256):
    """What the artefact store holds."""
    return b"".join([piece async for piece in registry.artifacts.read(sha256)])


class TestSubmit:
    async def test_whole_upload_becomes_a_version_and_is_told(self, any_registry, given, contents, sequence):
        submission = await any_registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        digest = hashlib.sha256(contents[next(iter(contents))]).hexdigest()
        assert submission.reference == ModelReference("adult-income", "1.0.0", digest)
        assert submission.submitted_by == "ci"
        assert submission.description.tier == "limited"
        assert submission.origin.vendor == "Acme"
        assert await any_registry.store.published() == ["1.0.0 submitted"]
        assert await any_registry.actions() == ["submitted"]
        for file in submission.files:
            assert hashlib.sha256(await stored(any_registry, file.sha256)).hexdigest() == file.sha256
        assert any_registry.spool.upload_ids() == frozenset()

    async def test_content_under_two_roles_is_sent_once(self, registry, given):
        contents = given.contents(evaluation=b"same", members=b"same")
        header = given.header(contents=contents)
        submission = await registry.uploads.submit(header, given.chunks(given.sequence(contents)), submitter="ci")
        assert len(submission.files) == 3
        assert (await registry.uploads.progress(given.upload_id)).received_bytes == 204

    async def test_same_upload_again_is_the_same_submission_without_a_byte(self, any_registry, given, sequence):
        first = await any_registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        again = await any_registry.uploads.submit(given.header(), none(), submitter="ci")
        assert again == first
        assert await any_registry.store.published() == ["1.0.0 submitted"]

    async def test_same_upload_at_the_same_time_is_the_same_submission(self, any_registry, given, sequence):
        answers = await asyncio.gather(
            *(any_registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci") for _ in range(4))
        )
        assert len({answer.submission_id for answer in answers}) == 1
        assert await any_registry.store.published() == ["1.0.0 submitted"]

    async def test_same_version_at_the_same_time_by_other_uploads_is_one_submission(
        self, any_registry, given, sequence
    ):
        headers = [given.header(upload_id=f"018f0000-0000-4000-8000-00000000000{n}") for n in (1, 2)]
        answers = await asyncio.gather(
            *(any_registry.uploads.submit(header, given.chunks(sequence), submitter="ci") for header in headers)
        )
        assert answers[0].submission_id == answers[1].submission_id
        assert await any_registry.store.published() == ["1.0.0 submitted"]

    async def test_upload_id_stands_for_one_content(self, any_registry, given, sequence):
        await any_registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        with pytest.raises(Conflict, match=r"was used for adult-income@1.0.0 with other content"):
            await any_registry.uploads.submit(given.header("2.0.0"), none(), submitter="ci")

    async def test_upload_that_was_begun_stands_for_one_header(self, registry, given, sequence):
        with pytest.raises(ConnectionError):
            await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 1), submitter="ci")
        with pytest.raises(Conflict, match="was begun with another header"):
            await registry.uploads.submit(given.header("2.0.0"), none(), submitter="ci")

    async def test_version_never_changes(self, any_registry, given, sequence):
        await any_registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        contents = given.contents(model=b"other")
        header = given.header(upload_id="018f0000-0000-4000-8000-000000000002", contents=contents)
        with pytest.raises(Conflict, match=r"adult-income@1.0.0 exists since 2026-01-01T00:00:00\+00:00"):
            await any_registry.uploads.submit(header, given.chunks(given.sequence(contents)), submitter="ci")

    async def test_same_bytes_with_another_manifest_are_another_content(self, registry, given, sequence):
        await registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        header = given.header(upload_id="018f0000-0000-4000-8000-000000000002", intended_use="other")
        with pytest.raises(Conflict, match="exists since"):
            await registry.uploads.submit(header, none(), submitter="ci")


class TestResume:
    async def test_goes_on_where_the_last_stream_ended(self, any_registry, given, sequence):
        with pytest.raises(ConnectionError):
            await any_registry.uploads.submit(given.header(), cut(given.chunks(sequence), 2), submitter="ci")
        assert await any_registry.uploads.progress(given.upload_id) == Progress(128)
        rest = given.chunks(sequence, offset=128)
        submission = await any_registry.uploads.submit(given.header(), rest, submitter="ci")
        assert await any_registry.uploads.progress(given.upload_id) == Progress(216, submission.submission_id)

    async def test_unknown_upload_is_at_zero(self, registry, given):
        assert await registry.uploads.progress(given.upload_id) == Progress(0)
        with pytest.raises(Invalid, match="is not a UUID"):
            await registry.uploads.progress("../../etc/passwd")

    @pytest.mark.parametrize("offset", [0, 64, 129, 10_000, -1])
    async def test_chunk_that_does_not_go_on_there_is_refused(self, registry, given, sequence, offset):
        with pytest.raises(ConnectionError):
            await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 2), submitter="ci")

        async def wrong():
            yield Chunk(offset, b"x")

        with pytest.raises(Conflict, match=rf"begins at offset {offset}, but 128 bytes have arrived"):
            await registry.uploads.submit(given.header(), wrong(), submitter="ci")
        assert (await registry.uploads.progress(given.upload_id)).received_bytes == 128

    async def test_bytes_that_were_kept_are_checked_again(self, registry, given, sequence, tmp_path):
        with pytest.raises(ConnectionError):
            await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 2), submitter="ci")
        part = tmp_path / "uploads" / f"{given.upload_id}.part"
        part.write_bytes(b"?" + part.read_bytes()[1:])
        with pytest.raises(Invalid, match=r"'model.onnx' arrived with sha256"):
            await registry.uploads.submit(given.header(), given.chunks(sequence, offset=128), submitter="ci")
        assert await registry.uploads.progress(given.upload_id) == Progress(0)

    async def test_killed_after_the_last_byte_needs_no_byte_more(self, registry, given, sequence):
        """Everything is in the spool, nothing is recorded: what a kill before the transaction leaves."""
        with pytest.raises(ConnectionError):
            await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 4), submitter="ci")
        assert await registry.uploads.progress(given.upload_id) == Progress(216)
        assert (await registry.uploads.submit(given.header(), none(), submitter="ci")).submission_id

    async def test_killed_before_the_spool_was_removed_leaves_a_complete_submission(self, registry, given, sequence):
        first = await registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        registry.spool.open(given.upload_id, plan_upload(given.header(), UploadLimits()).fingerprint).close()
        assert (await registry.uploads.progress(given.upload_id)).submission_id == first.submission_id
        assert await registry.uploads.submit(given.header(), none(), submitter="ci") == first
        assert registry.spool.upload_ids() == frozenset()

    async def test_artefact_store_that_is_away_loses_nothing(self, registry_with, given, sequence):
        class Away:
            async def put(self, sha256, size_bytes, pieces):
                raise Unavailable("the artefact store is away")

        with pytest.raises(Unavailable, match="is away"):
            await registry_with(artifacts=Away()).uploads.submit(given.header(), given.chunks(sequence), submitter="ci")
        registry = registry_with()
        assert await registry.uploads.progress(given.upload_id) == Progress(216)
        assert (await registry.uploads.submit(given.header(), none(), submitter="ci")).submission_id


class TestBadInput:
    async def test_truncated_upload_says_where_it_ended_and_can_be_resumed(self, registry, given, sequence):
        with pytest.raises(Invalid, match="ended after 100 of 216 bytes; resume it from there"):
            await registry.uploads.submit(given.header(), given.chunks(sequence[:100]), submitter="ci")
        rest = given.chunks(sequence, offset=100)
        assert await registry.uploads.submit(given.header(), rest, submitter="ci")

    async def test_empty_upload_is_truncated(self, registry, given):
        with pytest.raises(Invalid, match="ended after 0 of 216 bytes"):
            await registry.uploads.submit(given.header(), none(), submitter="ci")

    async def test_wrong_content_is_named_and_thrown_away(self, registry, given, sequence):
        wrong = sequence[:-1] + b"?"
        with pytest.raises(
            Invalid, match=r"'members.csv' arrived with sha256 [0-9a-f]{64}, announced was [0-9a-f]{64}"
        ):
            await registry.uploads.submit(given.header(), given.chunks(wrong), submitter="ci")
        assert await registry.uploads.progress(given.upload_id) == Progress(0)
        assert await registry.store.published() == []
        assert await registry.uploads.submit(given.header(), given.chunks(sequence), submitter="ci")

    async def test_more_than_announced_is_refused(self, registry, given, sequence):
        with pytest.raises(Invalid, match="goes on after its 216 bytes"):
            await registry.uploads.submit(given.header(), given.chunks(sequence + b"x"), submitter="ci")

    async def test_chunk_larger_than_the_limit_is_refused(self, registry, given, sequence):
        with pytest.raises(Exhausted, match="has 129 bytes; the limit is chunk_bytes = 128"):
            await registry.uploads.submit(given.header(), given.chunks(sequence, size=129), submitter="ci")

    async def test_too_many_uploads_at_one_time_are_refused(self, registry, given, sequence):
        for number in range(2):
            header = given.header(f"{number}.0.0", upload_id=f"018f0000-0000-4000-8000-00000000000{number}")
            with pytest.raises(ConnectionError):
                await registry.uploads.submit(header, cut(given.chunks(sequence), 1), submitter="ci")
        header = given.header("3.0.0", upload_id="018f0000-0000-4000-8000-000000000009")
        with pytest.raises(Exhausted, match="2 uploads are under way; the limit is uploads = 2"):
            await registry.uploads.submit(header, given.chunks(sequence), submitter="ci")
        begun = given.header("0.0.0", upload_id="018f0000-0000-4000-8000-000000000000")
        assert await registry.uploads.submit(begun, given.chunks(sequence, offset=64), submitter="ci")

    async def test_stream_that_stands_still_is_given_up_and_can_be_resumed(
        self, registry_with, limits, given, sequence
    ):
        registry = registry_with(limits=replace(limits, idle_s=0.01))

        async def stuck():
            yield Chunk(0, sequence[:64])
            await asyncio.Event().wait()

        with pytest.raises(Unavailable, match=r"no chunk came for 0.01 s; resume the upload"):
            await registry.uploads.submit(given.header(), stuck(), submitter="ci")
        assert await registry.uploads.progress(given.upload_id) == Progress(64)


async def test_chunk_is_read_only_when_the_one_before_is_written(registry, given, sequence):
    """Back-pressure: whoever sends faster than the disk takes waits."""
    written = []

    async def watched():
        async for chunk in given.chunks(sequence):
            written.append(registry.spool.received(given.upload_id) == chunk.offset)
            yield chunk

    await registry.uploads.submit(given.header(), watched(), submitter="ci")
    assert written == [True] * 4


async def test_abandoned_uploads_are_forgotten(registry, given, sequence, clock):
    with pytest.raises(ConnectionError):
        await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 1), submitter="ci")
    clock.moment = dt.datetime.now(dt.UTC) + dt.timedelta(hours=23)
    assert await registry.uploads.sweep() == frozenset()
    clock.advance(2 * 3600)
    assert await registry.uploads.sweep() == {given.upload_id}
    assert await registry.uploads.progress(given.upload_id) == Progress(0)


async def test_abandoned_uploads_are_forgotten_at_the_start(registry, given, sequence, clock):
    with pytest.raises(ConnectionError):
        await registry.uploads.submit(given.header(), cut(given.chunks(sequence), 1), submitter="ci")
    clock.moment = dt.datetime.now(dt.UTC) + dt.timedelta(hours=25)
    sweeping = asyncio.create_task(registry.uploads.keep_sweeping())
    while registry.spool.upload_ids():
        await asyncio.sleep(0)
    sweeping.cancel()
    assert await registry.uploads.progress(given.upload_id) == Progress(0)
