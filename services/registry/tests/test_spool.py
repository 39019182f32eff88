"""Half uploads on disk: whole or gone, whatever was happening when the process was killed."""

from __future__ import annotations

import datetime as dt
import errno

import pytest

from vallum_common.errors import Conflict, Exhausted, Unavailable
from vallum_registry.store.spool import FileSpool, SpoolFile

FIRST, SECOND = "018f0000-0000-4000-8000-000000000001", "018f0000-0000-4000-8000-000000000002"


@pytest.fixture
def spool(tmp_path):
    """A spool whose folder is not there yet."""
    return FileSpool(tmp_path / "data" / "uploads")


def test_what_was_appended_is_read_again_by_whoever_opens_it_next(spool):
    spooled = spool.open(FIRST, b"header")
    spooled.append(b"first ")
    spooled.close()
    spooled = spool.open(FIRST, b"header")
    spooled.append(b"second")
    assert b"".join(spooled.read()) == b"first second"
    assert b"".join(spooled.read(3, 6)) == b"st sec"
    assert spool.received(FIRST) == 12
    spooled.close()


def test_nothing_is_there_before_it_is_begun_or_after_it_is_discarded(spool):
    assert spool.upload_ids() == frozenset()
    assert spool.received(FIRST) == 0
    spool.open(FIRST, b"header").close()
    spool.open(SECOND, b"header").close()
    assert spool.upload_ids() == {FIRST, SECOND}
    spool.discard(FIRST)
    spool.discard(FIRST)
    assert spool.upload_ids() == {SECOND}


def test_upload_stands_for_one_header(spool):
    spool.open(FIRST, b"header").close()
    with pytest.raises(Conflict, match="was begun with another header"):
        spool.open(FIRST, b"other")


def test_bytes_without_a_header_mean_nothing(spool, tmp_path):
    """A kill between the two removals of `discard` leaves bytes whose header is gone, or a header that is a draft."""
    spooled = spool.open(FIRST, b"header")
    spooled.append(b"old")
    spooled.close()
    (tmp_path / "data" / "uploads" / f"{FIRST}.header").rename(tmp_path / "data" / "uploads" / f"{FIRST}.draft")
    spool.open(FIRST, b"other").close()
    assert spool.received(FIRST) == 0


def test_only_uploads_older_than_a_moment_are_discarded(spool):
    spool.open(FIRST, b"header").close()
    now = dt.datetime.now(dt.UTC)
    assert spool.discard_older(now - dt.timedelta(hours=1)) == frozenset()
    assert spool.discard_older(now + dt.timedelta(hours=1)) == {FIRST}
    assert spool.upload_ids() == frozenset()


def test_read_past_the_end_is_an_error_and_not_an_end(spool):
    spooled = spool.open(FIRST, b"header")
    spooled.append(b"abc")
    with pytest.raises(Unavailable, match="ends at 3, before 5"):
        list(spooled.read(0, 5))
    spooled.close()


def test_full_disk_is_told_as_such():
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Exhausted, match="does not take the upload: No space left on device"):
        SpoolFile(Full()).append(b"x")


def test_folder_that_cannot_be_made_is_told_as_such(tmp_path):
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(Unavailable, match="does not take the upload"):
        FileSpool(tmp_path / "data" / "uploads").open(FIRST, b"header")
