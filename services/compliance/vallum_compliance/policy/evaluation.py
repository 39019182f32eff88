"""What a release policy says of an input. A rule that cannot be evaluated counts as fired: it never helps to approve.

Deterministic: no clock, no randomness, no I/O in any expression, and the input holds no map that a rule would go
through in an order of its own (see `domain.evidence`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cel
import structlog

from vallum_common.errors import Invalid
from vallum_compliance.domain.decision import Judgement, Reason, Severity, judgement_of
from vallum_compliance.domain.evidence import Json, PolicyInput
from vallum_compliance.policy.document import PLACEHOLDER, PolicyDocument, Rule, parse_document

MOST_LISTED: Final = 20
"""Of a longer list the first ones are told, and how many more there are: a decision must fit into one event."""
MOST_CHARACTERS: Final = 300
"""Of a longer text the beginning is told; paths and findings come from whoever made the bundle."""

_CEL_ERRORS: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What the library raises: missing keys, overloads that do not exist, overflow, unknown names, bad syntax."""

log = structlog.get_logger(__name__)


class _NotEvaluated(Exception):
    """An expression has no usable value; the text says why."""


@dataclass(frozen=True, slots=True)
class _Expression:
    """A CEL expression, compiled, or the reason why it cannot be."""

    program: cel.Program | None
    error: str = ""

    @classmethod
    def of(cls, source: str) -> _Expression:
        try:
            return cls(cel.compile(source))
        except _CEL_ERRORS as error:
            return cls(None, _told(error))

    def value(self, context: cel.Context) -> Json:
        if self.program is None:
            raise _NotEvaluated(self.error)
        try:
            return _plain(self.program.execute(context))
        except _CEL_ERRORS as error:
            raise _NotEvaluated(_told(error)) from error


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    rule: Rule
    when: _Expression
    values: Mapping[str, _Expression]

    @classmethod
    def of(cls, rule: Rule) -> _CompiledRule:
        values = {name: _Expression.of(source) for name, source in rule.values.items()}
        return cls(rule, _Expression.of(rule.when), values)

    def reason(self, context: cel.Context) -> Reason | None:
        """Why the rule fires on this input; `None` where it does not."""
        try:
            fires = self.when.value(context)
            if not isinstance(fires, bool):
                raise _NotEvaluated(f"`when` gave {fires!r}, not true or false")
            if not fires:
                return None
            values = {name: expression.value(context) for name, expression in self.values.items()}
        except _NotEvaluated as problem:
            return self._not_evaluated(str(problem))
        message = PLACEHOLDER.sub(lambda match: _readable(values[match.group(1)]), self.rule.message)
        return Reason(self.rule.name, self.rule.severity, message, values)

    def _not_evaluated(self, problem: str) -> Reason:
        severity = max(self.rule.severity, Severity.REVIEW, key=lambda severity: severity.rank)
        message = f"rule {self.rule.name!r} could not be evaluated and counts as fired: {problem}"
        return Reason(self.rule.name, severity, message, {"error": problem})


class ReleasePolicy:
    """A policy in force.

    Args:
        document: the policy.
        text: the file it was read from.
    """

    def __init__(self, document: PolicyDocument, text: str) -> None:
        self.version = document.version
        self.text = text
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self._limits = {name: limit.value for name, limit in document.limits.items()}
        self._rules = tuple(map(_CompiledRule.of, document.rules))
        for compiled in self._rules:
            for expression in (compiled.when, *compiled.values.values()):
                if expression.error:
                    log.error("policy_rule_does_not_compile", rule=compiled.rule.name, reason=expression.error)

    def judge(self, policy_input: PolicyInput) -> Judgement:
        """Run every rule; the same input always gives an equal judgement."""
        context = cel.Context(variables={**policy_input.document(), "limits": self._limits})
        reasons = (compiled.reason(context) for compiled in self._rules)
        return judgement_of(reason for reason in reasons if reason)


def parse_policy(content: bytes, *, name: str) -> ReleasePolicy:
    """Make a policy of the bytes of its file.

    Raises:
        Invalid: it is not a policy; one line says where. A rule whose CEL does not compile is no such case: it
            counts as fired at every decision.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the policy {name!r} is not UTF-8 text") from error
    return ReleasePolicy(parse_document(text, name=name), text)


def load_policy(path: Path) -> ReleasePolicy:
    """Read a policy from its file.

    Raises:
        Invalid: the file cannot be read or is not a policy.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Invalid(f"the policy {str(path)!r} cannot be read: {error.strerror}") from error
    return parse_policy(content, name=str(path))


def _told(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:MOST_CHARACTERS]


def _plain(value: Any) -> Json:
    """A value as JSON can hold it, of bounded size."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number that can be told")
        return value
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + "…"
    if isinstance(value, list):
        listed = [_plain(item) for item in value[:MOST_LISTED]]
        return listed if len(value) <= MOST_LISTED else [*listed, f"… and {len(value) - MOST_LISTED} more"]
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in sorted(value.items())}
    raise TypeError(f"a value is of type {type(value).__name__}, which cannot be told")


def _readable(value: Json) -> str:
    if isinstance(value, list):
        return "; ".join(map(_readable, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)
