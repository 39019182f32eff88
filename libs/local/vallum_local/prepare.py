"""What a deployment needs once before its services start: keys, tokens, databases with their logins, topics.

`vallum up` does this on one machine; docker-compose.yml runs it as a job, and each service then mounts only the folder
that is its own. Run again, it keeps keys, passwords, databases and topics, makes what is missing and renews the tokens,
which end after 30 days: run it again before that. A service reads its token anew at each call.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Final

from vallum_common.errors import VallumError
from vallum_local.folder import passwords, private_folder, write_private
from vallum_local.identity import attestation_key, prepare_identity, service_token
from vallum_local.kafka import create_topics
from vallum_local.ports import SERVICES
from vallum_local.postgres import create_service_databases
from vallum_local.topics import platform_topics

SIGNER: Final = "compliance"
"""The one service that gets the signing key."""


async def prepare(folder: Path, *, kafka: str, database: str, owner: int | None = None) -> None:
    """Make everything in a folder with one sub-folder of secrets per service.

    Args:
        folder: keys and passwords; `folder/services/<name>` is for that service's eyes only.
        kafka: bootstrap address.
        database: URL of a PostgreSQL login that may create roles and databases.
        owner: user id the services run as; theirs become the folders below `folder/services`.

    Raises:
        VallumError: Kafka or PostgreSQL does not answer or refuses.
    """
    private_folder(folder)
    prepare_identity(folder, datetime.now(UTC))
    secrets = passwords(private_folder(folder / "secrets") / "postgres.json", list(SERVICES))
    await create_topics(kafka, platform_topics())
    urls = await create_service_databases(database, secrets)
    for name in SERVICES:
        own = folder / "services" / name
        own.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(own / "vallum_database_url", urls[name])
        write_private(own / "token", service_token(folder, name).read_text())
        for public in ("issuer.jwks.json", "attestation.jwks.json"):
            copyfile(folder / "keys" / public, own / public)
        if name == SIGNER:
            write_private(own / "attestation.pem", attestation_key(folder).read_text())
        if owner is not None:
            for path in (own, *own.iterdir()):
                os.chown(path, owner, owner)


def main() -> int:
    """Run as a job; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kafka", required=True, help="host:port")
    parser.add_argument("--database", required=True, help="URL of an administrator of PostgreSQL")
    parser.add_argument("--owner", type=int, help="user id the services run as")
    arguments = parser.parse_args()
    try:
        asyncio.run(prepare(**vars(arguments)))
    except VallumError as error:
        sys.stderr.write(f"prepare: {error.message}\n")
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
