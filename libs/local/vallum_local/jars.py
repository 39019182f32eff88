"""The jars Kafka runs from: exactly those of the lock file, each with exactly the digest written there.

They are fetched once into a folder of the user's cache and checked again at every start, because whoever can write
there would otherwise run code in our name. `KAFKA_HOME` names an unpacked distribution to be used instead; what lies in
it is its owner's responsibility and is not checked.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vallum_common.errors import Conflict, Invalid, Unavailable

KAFKA_LOCK = Path(__file__).with_name("kafka-4.3.0.lock")
PARALLEL_DOWNLOADS = 8
DOWNLOAD_TIMEOUT_S = 60


@dataclass(frozen=True)
class Jar:
    """One line of the lock: a Maven coordinate and the digest of its bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name in a Maven repository and in our cache."""
        return f"{self.artifact}-{self.version}.jar"


Fetch = Callable[[Jar, Path], Path]
"""Downloads one jar somewhere below the given folder and returns where; raises `Unavailable`."""


def parse_lock(text: str) -> tuple[Jar, ...]:
    """The jars of a lock file, in its order.

    Args:
        text: lines of `group:artifact:version sha256:<64 hex digits>`; `#` begins a comment line.

    Raises:
        Invalid: a line has another form.
    """
    jars = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        coordinate, _, digest = line.partition(" sha256:")
        parts = coordinate.split(":")
        if len(parts) != 3 or len(digest.strip()) != 64:
            raise Invalid(f"lock line {line!r} is not 'group:artifact:version sha256:<64 hex digits>'")
        group, artifact, version = parts
        jars.append(Jar(group, artifact, version, digest.strip()))
    return tuple(jars)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/vallum`, or `~/.cache/vallum` where that is not set."""
    home = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache"
    return Path(home) / "vallum"


def kafka_classpath(environment: Mapping[str, str], report: Callable[[str], None]) -> str:
    """The Java class path of Kafka; downloads what is missing.

    Args:
        environment: `KAFKA_HOME`, `XDG_CACHE_HOME` and `HOME` are read from it.
        report: is told when a download begins.

    Raises:
        Invalid: `KAFKA_HOME` holds no Kafka.
        Conflict: a jar differs from the lock.
        Unavailable: a jar cannot be downloaded or stored.
    """
    home = environment.get("KAFKA_HOME")
    if home:
        libraries = Path(home) / "libs"
        if not any(libraries.glob("kafka_2.*.jar")):
            raise Invalid(f"KAFKA_HOME={home!r} holds no libs/kafka_2.*.jar; it should be an unpacked Kafka release")
        return str(libraries / "*")
    jars = parse_lock(KAFKA_LOCK.read_text())
    folder = cache_folder(environment) / KAFKA_LOCK.stem
    return os.pathsep.join(str(path) for path in locked_jars(jars, folder, fetch_from_maven, report))


def locked_jars(
    jars: Sequence[Jar], folder: Path, fetch: Fetch, report: Callable[[str], None] = lambda _: None
) -> tuple[Path, ...]:
    """Paths of the given jars, each one just seen to have its digest.

    Several processes may do this at once: a jar appears in the folder complete and checked, or not at all.

    Args:
        jars: what is wanted; other files in the folder are never returned.
        folder: where they are kept; made when missing.
        fetch: how a missing one is obtained.
        report: is told when a download begins.

    Raises:
        Conflict: a jar differs from the lock; a downloaded one is thrown away, a stored one is left for inspection.
        Unavailable: a jar cannot be downloaded or stored.
    """
    missing = [jar for jar in jars if not (folder / jar.file_name).exists()]
    if missing:
        report(f"fetching {len(missing)} jars of Kafka into {folder} (once)")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
                _fetch_all(missing, folder, Path(scratch), fetch)
        except OSError as error:
            raise Unavailable(
                f"cannot store Kafka's jars in {str(folder)!r}: {error}; XDG_CACHE_HOME should name a writable folder"
            ) from error
    paths = tuple(folder / jar.file_name for jar in jars)
    for jar, path in zip(jars, paths, strict=True):
        _check(jar, path)
    return paths


def _fetch_all(jars: Sequence[Jar], folder: Path, scratch: Path, fetch: Fetch) -> None:
    def fetch_one(jar: Jar) -> None:
        path = fetch(jar, scratch)
        _check(jar, path)
        path.replace(folder / jar.file_name)

    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as threads:
        list(threads.map(fetch_one, jars))


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise Conflict(f"{path} has SHA-256 {digest!r}, the lock says {jar.sha256!r}; remove it if it is not yours")


def fetch_from_maven(jar: Jar, scratch: Path) -> Path:
    """Download one jar from Maven Central; nothing about it is believed until its digest was checked.

    Raises:
        Unavailable: the repository is not reachable or does not have it.
    """
    # Imported here: it brings an HTTP client along, which only the very first start needs.
    from jgo.maven import MavenContext
    from requests import RequestException

    context = MavenContext(repo_cache=scratch, timeout=DOWNLOAD_TIMEOUT_S)
    try:
        # Its transitive resolution picks wrong versions for Kafka, so every jar is named in the lock and fetched alone.
        path: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except (RequestException, RuntimeError, ValueError) as error:
        raise Unavailable(
            f"cannot fetch {jar.file_name!r} from Maven Central: {error}; "
            "without a network, KAFKA_HOME should name an unpacked Kafka release"
        ) from error
    return path
