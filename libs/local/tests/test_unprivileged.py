"""PostgreSQL never runs as root, and the machine is not changed for it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from vallum_common.errors import Denied
from vallum_local.postgres import binary
from vallum_local.unprivileged import Unprivileged, unprivileged

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="needs to be an ordinary user")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "postgres"
    path.parent.mkdir(mode=0o700)
    path.mkdir(mode=0o700)
    return path


@as_user
def test_ordinary_user_needs_nothing(folder: Path) -> None:
    assert unprivileged(folder, binary("postgres")) == Unprivileged()


@as_root
def test_root_becomes_nobody_in_a_namespace_where_its_files_are_still_its_own(folder: Path) -> None:
    rights = unprivileged(folder, binary("postgres"))

    assert rights.launcher[0] == "unshare"
    assert rights.user is None
    assert folder.stat().st_uid == 0
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_without_namespaces_nobody_is_asked_and_only_our_folders_change(folder: Path, tmp_path: Path) -> None:
    open_to_all = [tmp_path, *tmp_path.parents]
    before = [path.stat() for path in open_to_all]
    for path in open_to_all[:3]:  # pytest closes its own folders to others
        path.chmod(0o755)

    rights = unprivileged(folder, binary("postgres"))

    nobody = pwd.getpwnam("nobody").pw_uid
    assert rights == Unprivileged(user=nobody)
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (nobody, 0o700)
    assert folder.parent.stat().st_mode & 0o777 == 0o711
    assert [path.stat().st_uid for path in open_to_all] == [status.st_uid for status in before]


@as_root
@pytest.mark.usefixtures("no_namespaces")
def test_folder_that_nobody_can_reach_is_left_as_it_is_and_named(folder: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with pytest.raises(Denied, match=r"cannot reach .*data/postgres.*--database"):
        unprivileged(folder, binary("postgres"))

    assert folder.stat().st_uid == 0
    assert folder.parent.stat().st_mode & 0o777 == 0o700


@as_root
def test_unshare_that_is_missing_counts_as_no_namespaces(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tmp_path.chmod(0o700)

    with pytest.raises(Denied, match="user namespaces are off"):
        unprivileged(folder, binary("postgres"))
