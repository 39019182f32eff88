"""What compliance is told through its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vallum_common.settings import ServiceSettings


class Config(ServiceSettings):
    """The settings of compliance."""

    signing_key: Path = Field(description="PKCS #8 PEM file of the Ed25519 key verdicts are signed with")
    policy: Path = Field(description="YAML file of the release policy in force")
