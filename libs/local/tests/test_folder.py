"""The platform's folder: one holder at a time, closed to others, never somebody else's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vallum_common.errors import Conflict, Denied, Invalid, NotFound
from vallum_local.folder import LockedFolder, passwords, private_folder, read_private, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_secrets_are_closed_to_others(tmp_path: Path) -> None:
    with LockedFolder(tmp_path / "data") as folder:
        secret = folder.folder("keys") / "secret"
        write_private(secret, "s")

    assert mode(tmp_path / "data") == 0o700
    assert mode(tmp_path / "data" / "keys") == 0o700
    assert mode(secret) == 0o600
    assert read_private(secret) == "s"


def test_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vallum_local.folder import LockedFolder as L; L(Path(sys.argv[1]))"
    )

    with LockedFolder(tmp_path / "data"):
        second = subprocess.run([sys.executable, "-c", code, tmp_path / "data"], capture_output=True, text=True)

    assert f"in use by process {os.getpid()}" in second.stderr
    assert "--data" in second.stderr


def test_folder_is_free_again_when_its_holder_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from vallum_local.folder import LockedFolder;"
        "held = LockedFolder(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "data"])
    assert killed.returncode == -9

    LockedFolder(tmp_path / "data").close()


def test_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(Conflict, match="--data"):
        LockedFolder(tmp_path)

    assert mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Denied, match="file/data"):
        private_folder(tmp_path / "file" / "data")


def test_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write_private(secret, "s")
    secret.chmod(0o640)

    with pytest.raises(Denied, match="mode 640"):
        read_private(secret)


def test_missing_secret_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="vallum up"):
        read_private(tmp_path / "secret")


def test_passwords_stay_and_new_names_get_one(tmp_path: Path) -> None:
    first = passwords(tmp_path / "p.json", ["registry", "risk"])
    later = passwords(tmp_path / "p.json", ["registry", "monitor"])
    all_of_them = passwords(tmp_path / "p.json", ["registry", "risk", "monitor"])

    assert first["registry"] == later["registry"] == all_of_them["registry"]
    assert first["risk"] == all_of_them["risk"]
    assert len(set(all_of_them.values())) == 3
    assert mode(tmp_path / "p.json") == 0o600


def test_damaged_passwords_are_not_replaced(tmp_path: Path) -> None:
    write_private(tmp_path / "p.json", "{")

    with pytest.raises(Invalid, match=r"p\.json"):
        passwords(tmp_path / "p.json", ["registry"])

    assert read_private(tmp_path / "p.json") == "{"
