"""Settings of the registry."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from vallum_common.settings import ServiceSettings


class Config(ServiceSettings):
    """What the registry needs to know."""

    artifacts_url: str = Field(description="where files are kept: file:///folder or s3://bucket/prefix")
    attestation_keys: Path = Field(description="JWKS file of the Ed25519 public keys whose approvals count")
    upload_total_bytes: int = Field(default=4 * 1024**3, gt=0, description="largest submission, bytes")
    upload_files: int = Field(default=64, gt=0, description="most files in a submission")
    upload_manifest_bytes: int = Field(default=256 * 1024, gt=0, description="largest manifest, bytes")
    uploads: int = Field(default=32, gt=0, description="most uploads begun and not completed at one time")
    upload_idle_s: float = Field(default=60, gt=0, description="give up a stream without a chunk after, seconds")
    upload_keep_h: float = Field(default=24, gt=0, description="forget an upload nobody goes on with after, hours")
