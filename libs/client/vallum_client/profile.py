"""A profile: where the platform is, and who is asking."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vallum_common.errors import Invalid

DEFAULT_PROFILE: Final = Path(".vallum") / "client.toml"
SERVICES: Final = ("registry", "validator", "risk", "compliance", "monitor")


@dataclass(frozen=True, slots=True)
class Profile:
    """An opened profile.

    Args:
        path: the file; attestations are kept beside it.
        addresses: service name to `host:port`.
        token_file: the bearer token.
        kafka: Kafka's address, for dead letters; empty where the profile does not name it.
        ca_file: PEM of the authority that signed the servers' certificates; `None` for plain connections.
    """

    path: Path
    addresses: dict[str, str]
    token_file: Path
    kafka: str
    ca_file: Path | None


def load_profile(path: Path | None) -> Profile:
    """Read a profile.

    Args:
        path: `None` takes `.vallum/client.toml` of the present folder.

    Raises:
        Invalid: there is none, or it is not right; the line says what to do.
    """
    chosen = path or DEFAULT_PROFILE
    try:
        document = tomllib.loads(chosen.read_text())
    except OSError as error:
        how = "start a platform with `vallum up`, or name a profile with --profile FILE or VALLUM_PROFILE"
        raise Invalid(f"no profile at {str(chosen)!r} ({error.strerror}); {how}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the profile {str(chosen)!r} is not TOML: {error}") from error
    services = _table(document, "services", chosen)
    identity = _table(document, "identity", chosen)
    missing = [name for name in SERVICES if not isinstance(services.get(name), str)]
    if missing:
        raise Invalid(f"the profile {str(chosen)!r} lacks the address of {missing[0]!r} under [services]")
    if not isinstance(identity.get("token_file"), str):
        raise Invalid(f"the profile {str(chosen)!r} lacks token_file under [identity]")
    return Profile(
        path=chosen,
        addresses={name: services[name] for name in SERVICES},
        token_file=chosen.parent / identity["token_file"],
        kafka=str(services.get("kafka", "")),
        ca_file=_ca_file(identity, chosen),
    )


def _ca_file(identity: dict[str, Any], path: Path) -> Path | None:
    named = identity.get("ca_file")
    if not named:
        return None
    # Without it the connection would be plain, and the token would travel for all to read.
    if not isinstance(named, str) or not (path.parent / named).is_file():
        raise Invalid(f"the profile {str(path)!r} names the ca_file {named!r}, which is no file beside it")
    return path.parent / named


def _table(document: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = document.get(name)
    if not isinstance(table, dict):
        raise Invalid(f"the profile {str(path)!r} lacks the section [{name}]")
    return table
