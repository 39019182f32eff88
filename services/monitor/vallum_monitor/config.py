"""What the monitor is told: its environment, and the policy files people write."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from vallum_common.errors import Invalid
from vallum_common.settings import ServiceSettings

Policy = TypeVar("Policy", bound=BaseModel)


class Config(ServiceSettings):
    """The settings of the monitor."""

    correction_policy: Path = Field(description="YAML file: which alerts take a version out of service")
    detection_policy: Path | None = Field(
        default=None, description="YAML file of the detectors' limits; by default detection.yaml beside the former"
    )

    @property
    def detection_policy_file(self) -> Path:
        """The file of the detectors' limits."""
        return self.detection_policy or self.correction_policy.with_name("detection.yaml")


def read_policy(path: Path, shape: type[Policy]) -> tuple[Policy, str]:
    """Read a policy file.

    Args:
        path: YAML.
        shape: what it must be.

    Returns:
        The policy, and the hex SHA-256 of the file that decisions name.

    Raises:
        Invalid: it cannot be read or is not such a policy; one line says where.
    """
    try:
        content = path.read_bytes()
        return shape.model_validate(yaml.safe_load(content)), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise Invalid(f"the policy {str(path)!r} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Invalid(f"the policy {str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"]) or "the document"
        raise Invalid(f"the policy {str(path)!r} is not valid at {place}: {problem['msg']}") from error
