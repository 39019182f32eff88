"""The policy file as people write it. What cannot be a policy is refused here; what its rules say is CEL's business."""

from __future__ import annotations

import re
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vallum_common.errors import Invalid
from vallum_compliance.domain.decision import Severity

PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
"""How a message names a value."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
ValueName = Annotated[str, Field(pattern=r"^[a-z_]{1,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limit(_Part):
    """What rules compare with, as `limits.<name>`, and where it comes from."""

    value: int | float | str | list[str]
    source: Annotated[str, Field(min_length=1)]


class Rule(_Part):
    """What makes a submission less than approved.

    Args:
        name: told in every decision the rule had a part in.
        severity: what it demands when it fires.
        when: CEL over the policy input and `limits`; true means it fires.
        message: for a person; `{name}` stands for a value.
        values: name to CEL; evaluated when the rule fires, and told with it.
    """

    name: Name
    severity: Severity
    when: str
    message: Annotated[str, Field(min_length=1)]
    values: dict[ValueName, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _message_names_values(self) -> Rule:
        unknown = sorted(set(PLACEHOLDER.findall(self.message)) - set(self.values))
        if unknown:
            raise ValueError(f"the message of rule {self.name!r} names {unknown}, which are not among its values")
        return self


class PolicyDocument(_Part):
    """A release policy.

    Args:
        version: for people; machines go by the digest of the file.
        source: what the policy as a whole rests on.
        limits: the thresholds, by name.
        rules: in the order they are told. At least one: an empty policy would approve everything.
    """

    version: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    limits: dict[ValueName, Limit] = Field(default_factory=dict)
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> PolicyDocument:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have the name {twice}")
        return self


def parse_document(text: str, *, name: str) -> PolicyDocument:
    """Read a policy.

    Args:
        text: YAML.
        name: of the file, for the message.

    Raises:
        Invalid: it is not a policy; one line says where.
    """
    try:
        return PolicyDocument.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise Invalid(f"the policy {name!r} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in problem["loc"]) or "the document"
        raise Invalid(f"the policy {name!r} is not valid at {place}: {problem['msg']}") from error
