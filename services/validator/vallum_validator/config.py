"""Settings of the validator."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vallum_common.settings import ServiceSettings


class Config(ServiceSettings):
    """What the validator needs to know."""

    registry_address: str = Field(description="host:port of the registry, where artefacts are fetched")
    thresholds: Path = Field(description="file with the thresholds of the checks, policies/thresholds.yaml")
    publishers: Path = Field(description="file of who may publish what, policies/publishers.yaml")
    time_limit_s: float = Field(default=900.0, gt=0, description="longest time for one submission, in seconds")
    workers: int = Field(default=1, ge=1, le=64, description="submissions measured at the same time")
