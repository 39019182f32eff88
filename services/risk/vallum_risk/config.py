"""Settings of the risk service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vallum_common.settings import ServiceSettings


class Config(ServiceSettings):
    """What the risk service needs to know."""

    risk_model: Path = Field(description="file with the risk model, policies/risk.yaml")
