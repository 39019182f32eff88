"""Settings every service has, read once from the environment (prefix `VALLUM_`) and from `VALLUM_SECRETS_DIR`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from vallum_common.errors import Invalid

Settings = TypeVar("Settings", bound=BaseSettings)


def _check_database_url(url: str) -> str:
    # Neither the value nor the reason, which may quote it: it holds a password.
    try:
        drivername = make_url(url).drivername
    except (ArgumentError, ValueError):
        drivername = ""
    if drivername != "postgresql+asyncpg":
        raise ValueError("must be like postgresql+asyncpg://user:password@host:port/name")
    return url


def _upper(text: object) -> object:
    return text.upper() if isinstance(text, str) else text


DatabaseUrl = Annotated[str, AfterValidator(_check_database_url)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]


class ServiceSettings(BaseSettings):
    """What each service needs to know about the platform; a service adds its own fields."""

    model_config = SettingsConfigDict(env_prefix="VALLUM_", frozen=True, extra="ignore")

    grpc_address: str = Field(description="host:port to answer gRPC on; port 0 picks a free one")
    kafka: str = Field(description="Kafka's addresses, host:port separated by commas")
    database_url: DatabaseUrl = Field(description="postgresql+asyncpg URL of the service's own database", repr=False)
    jwks: str = Field(description="file or URL of the public keys bearer tokens are verified with")
    issuer: str = Field(default="", description="required issuer of tokens; empty accepts any whose key is known")
    token_file: Path | None = Field(default=None, description="file with the token this service calls others with")
    data_dir: Path = Field(description="folder for the service's own files")
    reflection: bool = Field(default=False, description="serve gRPC reflection; for development")
    log_level: LogLevel = Field(default="INFO", description="smallest log level that is written")


def read_settings(shape: type[Settings]) -> Settings:
    """Read the environment.

    Raises:
        Invalid: a variable is missing or malformed; the line names it.
    """
    try:
        # Files named like the variables, e.g. `vallum_database_url`: secrets stay out of the environment.
        return shape(_secrets_dir=os.environ.get("VALLUM_SECRETS_DIR"))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = "VALLUM_" + "_".join(str(step) for step in problem["loc"]).upper()
        field = shape.model_fields.get(str(problem["loc"][0]))
        meaning = f" ({field.description})" if field and field.description else ""
        raise Invalid(f"environment variable {name}{meaning}: {problem['msg'].lower()}") from error
