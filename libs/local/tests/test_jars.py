"""Only the jars of the lock, each with exactly its digest, ever reach the class path."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vallum_common.errors import Conflict, Invalid, Unavailable
from vallum_local.jars import KAFKA_LOCK, Jar, cache_folder, kafka_classpath, locked_jars, parse_lock

CONTENT = {"one": b"the first jar", "two": b"the second jar"}
JARS = tuple(Jar("org.example", name, "1.0", hashlib.sha256(bytes_).hexdigest()) for name, bytes_ in CONTENT.items())


def repository(content: dict[str, bytes]) -> Callable[[Jar, Path], Path]:
    """A stand-in for Maven that serves the given bytes."""

    def fetch(jar: Jar, scratch: Path) -> Path:
        path = scratch / f"downloaded-{jar.artifact}"
        path.write_bytes(content[jar.artifact])
        return path

    return fetch


def no_network(jar: Jar, scratch: Path) -> Path:
    raise Unavailable(f"asked for {jar.artifact}, and there is no network")


def test_lock_names_every_jar_of_kafka_with_its_digest() -> None:
    jars = parse_lock(KAFKA_LOCK.read_text())

    assert len(jars) == 46
    assert len({jar.file_name for jar in jars}) == 46
    assert "kafka_2.13-4.3.0.jar" in {jar.file_name for jar in jars}
    assert all(set(jar.sha256) <= set("0123456789abcdef") for jar in jars)


@pytest.mark.parametrize("line", ["a:b:1", "a:b:1 sha256:abc", "a:b sha256:" + "0" * 64])
def test_line_of_another_form_is_refused_by_name(line: str) -> None:
    with pytest.raises(Invalid, match=line):
        parse_lock(f"# comment\n\n{line}\n")


def test_jars_are_fetched_once(tmp_path: Path) -> None:
    first = locked_jars(JARS, tmp_path / "cache", repository(CONTENT))
    again = locked_jars(JARS, tmp_path / "cache", no_network)

    assert first == again
    assert [path.read_bytes() for path in first] == list(CONTENT.values())


def test_download_with_another_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"downloaded-two.*lock says"):
        locked_jars(JARS, tmp_path, repository(CONTENT | {"two": b"planted"}))

    assert not (tmp_path / JARS[1].file_name).exists()


def test_jar_altered_after_download_is_refused(tmp_path: Path) -> None:
    paths = locked_jars(JARS, tmp_path, repository(CONTENT))
    paths[0].write_bytes(b"planted later")

    with pytest.raises(Conflict, match=paths[0].name):
        locked_jars(JARS, tmp_path, no_network)


def test_jar_planted_beside_the_others_is_not_used(tmp_path: Path) -> None:
    locked_jars(JARS, tmp_path, repository(CONTENT))
    (tmp_path / "aaa-planted.jar").write_bytes(b"planted")

    assert [path.name for path in locked_jars(JARS, tmp_path, no_network)] == [jar.file_name for jar in JARS]


def test_interrupted_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def only_one(jar: Jar, scratch: Path) -> Path:
        return repository(CONTENT)(jar, scratch) if jar.artifact == "one" else no_network(jar, scratch)

    with pytest.raises(Unavailable):
        locked_jars(JARS, tmp_path, only_one)

    assert len(locked_jars(JARS, tmp_path, repository({"two": CONTENT["two"]}))) == 2


def test_several_may_fetch_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: locked_jars(JARS, tmp_path, repository(CONTENT)), range(16)))

    assert len(set(results)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(jar.file_name for jar in JARS)


def test_cache_that_cannot_be_written_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable, match="XDG_CACHE_HOME"):
        locked_jars(JARS, tmp_path / "file" / "cache", repository(CONTENT))


def test_cache_follows_the_user() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/vallum")
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/vallum")


def test_kafka_home_is_used_instead_and_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka_2.13-4.3.0.jar").touch()

    assert kafka_classpath({"KAFKA_HOME": str(tmp_path)}, pytest.fail) == f"{tmp_path}/libs/*"


def test_kafka_home_without_kafka_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=f"KAFKA_HOME='{tmp_path}'"):
        kafka_classpath({"KAFKA_HOME": str(tmp_path)}, pytest.fail)
