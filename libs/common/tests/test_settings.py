"""Settings: from the environment and from secret files; what is wrong is named by its variable, and no secret told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import Field

from vallum_common.errors import Invalid
from vallum_common.settings import ServiceSettings, read_settings

RIGHT = {
    "VALLUM_GRPC_ADDRESS": "127.0.0.1:0",
    "VALLUM_KAFKA": "127.0.0.1:7492",
    "VALLUM_DATABASE_URL": "postgresql+asyncpg://risk:hunter2@127.0.0.1/risk",
    "VALLUM_JWKS": "jwks.json",
    "VALLUM_DATA_DIR": "/var/lib/vallum",
}


class Config(ServiceSettings):
    """Settings of a service that has one of its own."""

    workers: int = Field(default=1, ge=1, description="how many work at the same time")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but what a right environment holds."""
    for name in [*RIGHT, "VALLUM_WORKERS", "VALLUM_SECRETS_DIR", "VALLUM_REFLECTION", "VALLUM_LOG_LEVEL"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in RIGHT.items():
        monkeypatch.setenv(name, value)


def test_environment_is_read_with_defaults_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLUM_REFLECTION", "1")
    settings = read_settings(Config)
    assert settings.data_dir == Path("/var/lib/vallum")
    assert (settings.reflection, settings.workers, settings.token_file, settings.issuer) == (True, 1, None, "")


@pytest.mark.parametrize("name", RIGHT)
def test_missing_variable_is_named_with_its_meaning(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(Invalid) as refused:
        read_settings(Config)
    description = Config.model_fields[name.removeprefix("VALLUM_").lower()].description
    assert refused.value.message == f"environment variable {name} ({description}): field required"


def test_malformed_variable_is_named_and_its_value_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLUM_WORKERS", "hunter2")
    with pytest.raises(Invalid, match=r"VALLUM_WORKERS .* valid integer") as refused:
        read_settings(Config)
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("VALLUM_DATABASE_URL", "hunter2", "postgresql+asyncpg://user:password@host:port/name"),
        ("VALLUM_DATABASE_URL", "postgresql://risk:hunter2@127.0.0.1/risk", "must be like postgresql+asyncpg"),
        ("VALLUM_DATABASE_URL", "postgresql+asyncpg://risk:hunter2@127.0.0.1:port/risk", "must be like"),
        ("VALLUM_LOG_LEVEL", "hunter2", "'debug', 'info', 'warning'"),
    ],
)
def test_value_no_service_could_start_with_is_named_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Invalid, match=re.escape(right)) as refused:
        read_settings(Config)
    assert name in refused.value.message
    assert "hunter2" not in refused.value.message


def test_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLUM_LOG_LEVEL", "debug")
    assert read_settings(Config).log_level == "DEBUG"


def test_secrets_come_from_files_and_stay_out_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VALLUM_DATABASE_URL")
    monkeypatch.setenv("VALLUM_SECRETS_DIR", str(tmp_path))
    (tmp_path / "vallum_database_url").write_text("postgresql+asyncpg://risk:from-file@127.0.0.1/risk\n")
    assert read_settings(Config).database_url == "postgresql+asyncpg://risk:from-file@127.0.0.1/risk"


def test_password_is_not_shown_where_settings_are_logged() -> None:
    assert "hunter2" not in repr(read_settings(Config))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings(Config).workers = 2
