"""`vallum admission verify`: offline, for a serving layer or an admission webhook."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import typer

from vallum_client.cli.context import Exit, session
from vallum_client.profile import DEFAULT_PROFILE
from vallum_common.attestation import admit, load_keys
from vallum_common.errors import Denied, Invalid

_READ_BYTES: Final = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands."""
    admission = typer.Typer(no_args_is_help=True, help="Check a signed verdict without any server.")
    admission.callback()(lambda: None)  # keeps `verify` a sub-command although it is the only one
    admission.command("verify")(verify)
    app.add_typer(admission, name="admission")


def verify(
    artifact: Annotated[Path, typer.Argument(help="The model file about to be loaded.")],
    attestation: Annotated[Path, typer.Argument(help="The signed verdict, as `vallum submit` wrote it.")],
    *,
    key: Annotated[Path | None, typer.Option(help="JWKS of compliance; default: the platform's.")] = None,
) -> int:
    """Does this signed verdict allow exactly these bytes? 0 yes, 1 no."""
    digest = _digest(artifact)
    keys = load_keys(key or (session.profile_path() or DEFAULT_PROFILE).parent / "keys" / "attestation.jwks.json")
    try:
        statement = admit(_read(attestation), keys, sha256=digest)
    except Denied as error:
        if session.json:
            session.document({"admitted": False, "sha256": digest, "reason": error.message})
        session.say(("refused", "red"))
        session.explain(error.message)
        return Exit.NO
    if session.json:
        session.document({"admitted": True, "sha256": digest, "verdict": statement.verdict})
    session.say(("admitted", "green"), f"  {statement.verdict}")
    session.say(f"  sha256 {digest}")
    return Exit.GOOD


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise Invalid(f"the artefact {str(path)!r} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"the attestation {str(path)!r} cannot be read: {error.strerror}") from error
