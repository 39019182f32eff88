"""Tokens at the door of a running platform, and what other people's tools see of it."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

import pytest

from vallum_local.identity import issue_token, load_or_create_key

from . import bundles
from .conftest import RunningPlatform

pytestmark = pytest.mark.platform

BUF = Path(sys.executable).with_name("buf")


def get_model(platform: RunningPlatform, model_id: str, bearer: str | None) -> subprocess.CompletedProcess[str]:
    """`buf curl`, an independent client, over reflection."""
    address = f"http://127.0.0.1:{platform.ports.service('registry')}"
    command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data"]
    command += [json.dumps({"model": model_id, "version": "1.0.0"})]
    command += ["--header", f"Authorization: Bearer {bearer}"] if bearer is not None else []
    command += [f"{address}/vallum.registry.v1.RegistryService/GetModel"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_an_independent_client_is_answered_by_name_only(
    platform: RunningPlatform, tmp_path: Path, model_id: str
) -> None:
    bundle = bundles.iris(tmp_path / "b", model_id)
    assert platform.vallum("submit", bundle, "--no-wait").code == 0
    answered = get_model(platform, model_id, platform.token("auditor"))
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["model"]["model"] == model_id

    now = dt.datetime.now(dt.UTC)
    foreign = load_or_create_key(tmp_path / "foreign.pem")
    forged = issue_token(foreign, subject="eve", roles=["operator"], ttl=dt.timedelta(hours=1), now=now)
    expired = platform.token("auditor", ttl=dt.timedelta(minutes=1), now=now - dt.timedelta(hours=1))
    for bearer in (None, "", "nonsense", forged, expired):
        refused = get_model(platform, model_id, bearer)
        assert refused.returncode != 0
        assert "unauthenticated" in refused.stderr.lower()


def test_an_auditor_may_look_but_not_touch(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    token = tmp_path / "auditor.token"
    token.write_text(platform.token("auditor"))
    profile = tmp_path / "auditor.toml"
    profile.write_text(platform.profile.read_text().replace('"client.token"', json.dumps(str(token))))
    assert platform.vallum("models", "list", VALLUM_PROFILE=str(profile)).code == 0
    assert platform.vallum("audit", "replay", VALLUM_PROFILE=str(profile)).code == 0
    bundle = bundles.iris(tmp_path / "b", model_id)
    refused = platform.vallum("submit", bundle, VALLUM_PROFILE=str(profile))
    assert refused.code == 3
    assert "may not call" in refused.error


def test_a_platform_that_is_away_is_named(platform: RunningPlatform, tmp_path: Path) -> None:
    profile = tmp_path / "away.toml"
    text = platform.profile.read_text().replace(str(platform.ports.service("registry")), "1")
    profile.write_text(text.replace('"client.token"', json.dumps(str(platform.folder / "client.token"))))
    answer = platform.vallum("models", "list", VALLUM_PROFILE=str(profile))
    assert answer.code == 4
    assert "registry at 127.0.0.1:1 does not answer" in answer.error
