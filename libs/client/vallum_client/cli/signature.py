"""`vallum signature verify`: what the signature in a bundle is worth, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from vallum_client.cli.context import Exit, session
from vallum_client.cli.documents import signature_dict, signature_line

_EXITS: Final = {"VERIFIED": Exit.GOOD, "INVALID": Exit.NO, "NOT_ALLOWED": Exit.NO}
_FINGERPRINT: Final = 64


def register(app: typer.Typer) -> None:
    """Add the commands."""
    signature = typer.Typer(no_args_is_help=True, help="Who signed a model, and whether they may publish it.")
    signature.callback()(lambda: None)  # keeps `verify` a sub-command although it is the only one
    signature.command("verify")(verify)
    app.add_typer(signature, name="signature")


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder or .tar.gz with vallum.yaml in it.")],
    *,
    publishers: Annotated[Path | None, typer.Option(help="Who may publish what; the house's own unless given.")] = None,
) -> int:
    """What is the signature worth? 0 VERIFIED, 1 INVALID or NOT_ALLOWED, 2 NOT_SIGNED, UNTRUSTED or UNKNOWN."""
    from vallum_common.bundle import open_bundle
    from vallum_common.clock import SystemClock
    from vallum_local.services import default_policies
    from vallum_validator.domain.evidence import SignatureOutcome
    from vallum_validator.provenance import load_publishers, verify_signature
    from vallum_validator.scan import scan_file
    from vallum_validator.wire import signature_message

    believed = load_publishers(publishers or default_policies() / "publishers.yaml")
    with open_bundle(bundle) as opened:
        report = verify_signature(opened, believed, now=SystemClock().now())
        if report.outcome is SignatureOutcome.VERIFIED:  # what it is worth may hang on the format
            artifact = opened.files[0].path
            report = report.held_against(scan_file(opened.root / artifact, name=artifact))
    document = signature_dict(signature_message(report))
    if session.json:
        session.document(document)
    outcome, colour, who = signature_line(document)
    session.say((outcome, colour), who)
    session.explain(document["reason"])
    if document["key_id"]:
        kind = "sha256 " if len(document["key_id"]) == _FINGERPRINT else ""
        session.say(f"    signer {kind}{document['key_id']}")
    return _EXITS.get(outcome, Exit.COULD_NOT_TELL)
