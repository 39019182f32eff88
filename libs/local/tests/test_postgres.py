"""A real PostgreSQL server, and who may read what in it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum_common.errors import Conflict, Denied, Invalid, Unavailable
from vallum_local.children import stop_children
from vallum_local.foundations import free_port
from vallum_local.postgres import Postgres, connect, create_service_databases, parse_url

pytestmark = pytest.mark.platform
Run = Callable[..., object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "postgres"
    path.mkdir(mode=0o700, parents=True)
    return path


def server(folder: Path, password: str = "superuser") -> Postgres:
    log = folder.parent / "postgres.log"
    return Postgres(folder, port=free_port(), password=password, log=log, environment=os.environ)


async def test_service_reaches_its_own_database_and_no_other(database: Callable[[], str]) -> None:
    registry, risk = database(), database()
    own = await connect(registry)
    await own.execute("CREATE TABLE models (name text); INSERT INTO models VALUES ('secret')")
    assert await own.fetchval("SELECT name FROM models") == "secret"
    await own.close()
    foreign = parse_url(risk).set(database=parse_url(registry).database).render_as_string(hide_password=False)

    with pytest.raises(Denied, match="permission denied for database"):
        await connect(foreign)


async def test_service_is_no_superuser_and_cannot_make_more_of_itself(database: Callable[[], str]) -> None:
    own = await connect(database())
    rights = await own.fetchrow(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = user"
    )
    await own.close()

    assert not any(rights)


async def test_wrong_password_is_refused_without_repeating_it(database: Callable[[], str]) -> None:
    wrong = parse_url(database()).set(password="guess-4711").render_as_string(hide_password=False)

    with pytest.raises(Denied) as refusal:
        await connect(wrong)

    assert "guess-4711" not in str(refusal.value)


async def test_databases_are_made_once_and_kept(postgres: str, database: Callable[[], str]) -> None:
    url = parse_url(database())
    own = await connect(url.render_as_string(hide_password=False))
    await own.execute("CREATE TABLE models (name text)")
    await own.close()

    again = await create_service_databases(postgres, {str(url.database): str(url.password)})

    own = await connect(again[str(url.database)])
    assert await own.fetchval("SELECT count(*) FROM models") == 0
    await own.close()


async def test_role_of_another_platform_is_not_taken_over(postgres: str, database: Callable[[], str]) -> None:
    name = str(parse_url(database()).database)

    with pytest.raises(Conflict, match=f"role '{name}' exists already with another password"):
        await create_service_databases(postgres, {name: "another"})


async def test_database_of_somebody_else_is_not_taken_over(postgres: str) -> None:
    with pytest.raises(Conflict, match="database 'template1' belongs to"):
        await create_service_databases(postgres, {"template1": "password"})
    administrator = await connect(postgres)
    await administrator.execute("DROP ROLE template1")
    await administrator.close()


async def test_absent_server_is_unavailable_and_the_password_stays_secret() -> None:
    with pytest.raises(Unavailable) as absence:
        await connect(f"postgresql://vallum:hidden-4711@127.0.0.1:{free_port()}/postgres")

    assert "127.0.0.1" in str(absence.value)
    assert "hidden-4711" not in str(absence.value)


@pytest.mark.parametrize("url", ["", "lokal", "mysql://user:hidden-4711@host/name"])
def test_what_is_no_postgres_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_url(url)

    assert "hidden-4711" not in str(refusal.value)


def test_everything_written_is_found_after_a_stop_and_after_a_kill(folder: Path, run: Run) -> None:
    async def write_and_count(url: str) -> int:
        connection = await connect(url)
        await connection.execute("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)")
        count = await connection.fetchval("SELECT count(*) FROM t")
        await connection.close()
        return int(count)

    counts = []
    for end in (signal.SIGINT, signal.SIGKILL, signal.SIGINT):
        postgres = server(folder)
        child = run(postgres.start())
        counts.append(run(write_and_count(postgres.url)))
        os.kill(child.pid, end)
        stop_children([child])

    assert counts == [1, 2, 3]


def test_data_is_closed_to_others_and_no_password_is_left_lying(folder: Path, run: Run) -> None:
    child = run(server(folder, password="lying-4711").start())
    stop_children([child])

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "data").stat().st_mode & 0o777 == 0o700
    assert not [path for path in folder.rglob("*") if path.is_file() and b"lying-4711" in path.read_bytes()]


def test_data_of_another_version_is_refused_and_left_alone(folder: Path, run: Run) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("17\n")

    with pytest.raises(Conflict, match="was made by PostgreSQL '17'"):
        run(server(folder).start())

    assert [path.name for path in folder.rglob("*")] == ["data", "PG_VERSION"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
@pytest.mark.usefixtures("no_namespaces")
def test_root_without_namespaces_runs_it_as_nobody(run: Run) -> None:
    reachable = Path(tempfile.mkdtemp(prefix="vallum-nobody-"))
    reachable.chmod(0o755)
    folder = reachable / "data" / "postgres"
    folder.mkdir(mode=0o700, parents=True)
    try:
        child = run(server(folder).start())
        owner = Path(f"/proc/{child.pid}").stat().st_uid
        stop_children([child])
    finally:
        shutil.rmtree(reachable)

    assert owner == 65534
