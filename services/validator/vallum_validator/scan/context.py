"""What an inspector works with: where it stands, what it may still spend, and where findings go.

One `Ledger` and one `Budget` serve a whole file with everything nested in it, so that a thousand small members cannot
together cost what one large member may not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vallum_common.errors import Exhausted
from vallum_validator.domain.findings import Finding, ScanVerdict
from vallum_validator.scan.rules import RULES
from vallum_validator.scan.texts import Noted

MAX_SHOWN: Final = 120
"""Characters of a hostile value that a message repeats."""
_MAX_PARTS: Final = 8
"""Parts of a tuple that a message repeats."""
_MAX_MESSAGE: Final = 1_000
"""Characters of a message, which may repeat several values."""


def shown(value: object) -> str:
    """The `repr` of a value from a hostile file, cut to a length a person can read."""
    return _cut(_sketch(value, 3), MAX_SHOWN)


def _sketch(value: object, depth: int) -> str:
    """A `repr` whose cost has a bound: a pickle of forty opcodes is a tuple of 2^40 values, or a number of a million
    digits."""
    if isinstance(value, str | bytes) and len(value) > _MAX_MESSAGE:
        return f"{value[:_MAX_MESSAGE]!r}… ({len(value)})"
    if isinstance(value, int) and value.bit_length() > _MAX_MESSAGE:
        return f"a number of {value.bit_length()} bits"
    if not isinstance(value, tuple):
        try:
            return repr(value)
        except RecursionError:
            return "a value nested too deeply to show"
    if value and not depth:
        return "(…)"
    parts = [_sketch(item, depth - 1) for item in value[:_MAX_PARTS]]
    return f"({', '.join(parts)}{', …' if len(value) > _MAX_PARTS else ',' if len(value) == 1 else ''})"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost.

    The counted limits, down to `findings`, decide: the same bytes always end the same way. Memory and time are the last
    resort, enforced from outside the parser where counting missed something.

    Args:
        expanded_bytes: what decompression may produce whatever the size of the file.
        ratio: and in addition this many bytes for each byte of the file.
        entries: of all archives together.
        depth: of archives in archives.
        base_opcodes: pickle opcodes whatever the size of the file.
        opcodes_per_byte: and in addition this many for each byte of the file.
        pickle_items: values on the stack of a pickle at one time.
        findings: that are kept.
        memory_bytes: private memory of the scanning process, beyond what it has at its start.
        memory_per_byte: and in addition this many bytes for each byte of the file,
        memory_ceiling: but never more than this.
        seconds: of processor time, whatever the size of the file.
        seconds_per_mebibyte: and in addition this many.
        patience: by the clock the scan may take so many times its processor time: a busy machine must not make honest
            files UNKNOWN.
    """

    expanded_bytes: int = 64 * 1024**2
    ratio: int = 100
    entries: int = 20_000
    depth: int = 6
    base_opcodes: int = 2_000_000
    opcodes_per_byte: int = 3
    pickle_items: int = 5_000_000
    findings: int = 100
    memory_bytes: int = 160 * 1024**2
    memory_per_byte: int = 64
    memory_ceiling: int = 2 * 1024**3
    seconds: float = 3.0
    seconds_per_mebibyte: float = 1.0
    patience: float = 4.0

    def memory(self, size_bytes: int) -> int:
        """Bytes of private memory for the scan of a file of that size."""
        return min(self.memory_bytes + self.memory_per_byte * size_bytes, self.memory_ceiling)

    def processor_s(self, size_bytes: int) -> float:
        """Seconds of processor time for the scan of a file of that size."""
        return self.seconds + self.seconds_per_mebibyte * size_bytes / 1024**2

    def wall_s(self, size_bytes: int) -> float:
        """Seconds by the clock for the scan of a file of that size."""
        return self.patience * self.processor_s(size_bytes)

    def expansion(self, size_bytes: int) -> int:
        """Bytes that decompression may produce from a file of that size."""
        return self.expanded_bytes + self.ratio * size_bytes


@dataclass(slots=True)
class Budget:
    """What is left of the limits while a file is scanned.

    Args:
        limits: there were.
        expanded_bytes: that decompression may still produce.
        opcodes: of pickles that may still be followed.
        entries: of archives that may still be opened.
        noted: what of the content that is inspected is no running text.
    """

    limits: Limits
    expanded_bytes: int
    opcodes: int
    entries: int
    noted: Noted = field(default_factory=Noted)

    @classmethod
    def of(cls, limits: Limits, size_bytes: int) -> Budget:
        """The budget of a file of that size."""
        return cls(
            limits=limits,
            expanded_bytes=limits.expansion(size_bytes),
            opcodes=limits.base_opcodes + limits.opcodes_per_byte * size_bytes,
            entries=limits.entries,
        )

    def expand(self, count: int) -> None:
        """Spend bytes that decompression produced. Raises: Exhausted when there are none left."""
        self.expanded_bytes -= count
        if self.expanded_bytes < 0:
            raise Exhausted(
                f"decompression gives more than {self.limits.expanded_bytes} bytes and "
                f"{self.limits.ratio} times the size of the file"
            )

    def enter(self, count: int = 1) -> None:
        """Spend archive entries. Raises: Exhausted when there are none left."""
        self.entries -= count
        if self.entries < 0:
            raise Exhausted(f"archives hold more than {self.limits.entries} entries")

    def step(self, count: int) -> None:
        """Spend pickle opcodes. Raises: Exhausted when there are none left."""
        self.opcodes -= count
        if self.opcodes < 0:
            raise Exhausted(
                f"pickles have more than {self.limits.base_opcodes} opcodes and "
                f"{self.limits.opcodes_per_byte} for each byte of the file"
            )

    def hold(self, count: int) -> None:
        """Note how many values a pickle keeps at one time. Raises: Exhausted when they are too many."""
        if count > self.limits.pickle_items:
            raise Exhausted(f"a pickle keeps more than {self.limits.pickle_items} values at one time")


@dataclass(slots=True)
class Ledger:
    """The findings of one file and the worst verdict any of them allows."""

    limit: int
    findings: list[Finding] = field(default_factory=list)
    verdict: ScanVerdict = ScanVerdict.CLEAN
    _seen: set[tuple[str, str, str]] = field(default_factory=set)
    _full: bool = False

    def add(self, rule_id: str, member: str, offset: int | None, message: str) -> None:
        """Record a finding; a repeated one (same rule, member and message) is recorded once."""
        rule, message = RULES[rule_id], _cut(message, _MAX_MESSAGE)
        if rule.verdict is ScanVerdict.MALICIOUS or self.verdict is ScanVerdict.CLEAN:
            self.verdict = rule.verdict
        room = 2 * self.limit if rule.verdict is ScanVerdict.MALICIOUS else self.limit
        if (rule_id, member, message) in self._seen:
            return
        if len(self.findings) < room:
            self._seen.add((rule_id, member, message))
            self.findings.append(Finding(rule_id, rule.severity, member, offset, message))
        elif not self._full:
            self._full = True
            note = RULES["scan.finding-limit"]
            self.findings.append(Finding(note.id, note.severity, "", None, f"only {room} findings are kept"))


@dataclass(frozen=True, slots=True)
class Context:
    """Where an inspector stands.

    Args:
        member: path inside the file, `""` for the file itself.
        depth: of nesting, 0 for the file itself.
        ledger: of the whole file.
        budget: of the whole file.
        inspect: recognises nested content and inspects it; returns the name of its format.
    """

    member: str
    depth: int
    ledger: Ledger
    budget: Budget
    inspect: Callable[[memoryview, Context], str]

    def report(self, rule_id: str, message: str, offset: int | None = None) -> None:
        """Record a finding here."""
        self.ledger.add(rule_id, self.member, offset, message)

    def enter(self, name: str) -> Context:
        """The context of a member of this container; a long name is cut.

        Raises:
            Exhausted: archives are nested deeper than is allowed.
        """
        if self.depth >= self.budget.limits.depth:
            raise Exhausted(f"{shown(name)} is nested deeper than {self.budget.limits.depth} levels")
        # A report repeats the name with every finding: cut, or a small archive makes evidence too large to be told.
        name = _cut(name, MAX_SHOWN)
        member = f"{self.member}!/{name}" if self.member else name
        return Context(member, self.depth + 1, self.ledger, self.budget, self.inspect)
