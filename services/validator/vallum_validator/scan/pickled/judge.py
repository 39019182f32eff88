"""Holds what a pickle would do against the allow-lists. What is not listed is unknown, and unknown is not clean."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.pickled.arguments import ARGUMENT_RULES
from vallum_validator.scan.pickled.values import OPAQUE, Container, Global, Grade, Instance

_PAYLOAD: Final = re.compile(
    r"__import__|\bimport\s+\w|\bexec\s*\(|\beval\s*\(|\bos\s*\.\s*\w|subprocess|/bin/|\bbash\b|\bsh\s+-c|powershell|cmd\.exe|"
    r"\b(?:curl|wget|nc|touch|rm|chmod|python3?|id|whoami|cat|echo|calc)\b[\s./>|;-]|https?://|\bopen\s*\(|/etc/passwd|/dev/tcp|"
    r"\blambda\b"
)
_NUMPY_PARTS: Final = frozenset({"dtype", "ndarray", "scalar", "_reconstruct", "_frombuffer"})
"""Arrays of objects in joblib files are pickles with a memo of their own. Read on by plain pickle they name these in
modules that are any text of the file; the import fails."""
_SCRIPT_MODULES: Final = frozenset({"torch.jit._pickle", "torch._utils"})
_GIVES_TEXT: Final = frozenset({"builtins.str", "builtins.getattr"})


class Reading(Enum):
    """Which program loads the pickle."""

    ANY = "any"
    """Not known: persistent ids may be resolved."""
    PLAIN = "plain"
    """`pickle.load` on bytes that are meant to be something else: it refuses persistent ids."""
    TORCH = "torch"
    """torch, which resolves persistent ids to storages."""
    SCRIPT = "script"
    """The unpickler of TorchScript, written in C++: its `__torch__` classes are declared in the archive's own code."""


class Judge:
    """The observer that reports to a `Context`.

    Args:
        context: where findings go.
        allowlist: the lists in force.
        reading: what the loading program is.
    """

    def __init__(self, context: Context, allowlist: Allowlist, *, reading: Reading = Reading.ANY) -> None:
        self._context = context
        self._allowlist = allowlist
        self._reading = reading
        self.named: set[str] = set()
        self.storages: dict[str, tuple[Any, ...]] = {}

    def name(self, offset: int, module: str, name: str) -> Global:
        """Grade a global and report it where it may not be named."""
        grade = self._allowlist.grade(module, name)
        if self._reading is Reading.SCRIPT and (module.partition(".")[0] == "__torch__" or module in _SCRIPT_MODULES):
            grade = Grade.CALLABLE
        found = Global(module, name, grade, offset)
        if self._reading is Reading.PLAIN and found.grade is Grade.UNLISTED and name in _NUMPY_PARTS:
            raise Invalid(f"no module {shown(module)} has {name!r}")
        self.named.add(found.path)
        if found.grade is Grade.DENIED:
            self._context.report(
                "pickle.global-denied", f"names {shown(found.path)}, which is never part of a model", offset
            )
        elif found.grade is Grade.UNLISTED:
            self._context.report(
                "pickle.global-unlisted", f"names {shown(found.path)}, which no allow-list knows", offset
            )
        return found

    def name_computed(self, offset: int, module: Any, name: Any) -> Any:
        """Report a global whose name is no text; where it is plain data the real unpickler fails."""
        if all(isinstance(part, str) or _may_be_text(part) for part in (module, name)):
            self._context.report(
                "pickle.global-computed", f"STACK_GLOBAL with a computed name: {shown(module)}, {shown(name)}", offset
            )
            return Instance("a computed global")
        raise Invalid(f"STACK_GLOBAL at offset {offset} needs two texts, got {shown(module)} and {shown(name)}")

    def call(self, offset: int, opcode: str, target: Any, arguments: Any) -> Any:
        """Decide whether loading an honest model makes this call."""
        if isinstance(target, Instance):
            self._context.report("pickle.call-of-result", f"{opcode} calls {target!r} with {shown(arguments)}", offset)
            return Instance(f"calling {target!r}"[:200])
        if not isinstance(target, Global):
            raise Invalid(f"{opcode} at offset {offset} calls {shown(target)}, which cannot be called")
        if target.grade in (Grade.DENIED, Grade.UNLISTED, Grade.REFERENCE):
            self._unlisted_call(offset, opcode, target, arguments)
        elif target.grade is Grade.CLASS and not _skips_constructor(opcode, arguments):
            self._context.report(
                "pickle.call-unlisted",
                f"{opcode} runs the constructor of {target.path} with {shown(arguments)}",
                offset,
            )
        else:
            self._check_arguments(offset, opcode, target, arguments)
        may_be_text = target.grade < Grade.CLASS or target.path in _GIVES_TEXT
        return Instance(_class_of(target, arguments), arguments, may_be_text=may_be_text)

    def _check_arguments(self, offset: int, opcode: str, target: Global, arguments: Any) -> None:
        rule = ARGUMENT_RULES.get(target.path)
        objection = rule(arguments, self._allowlist) if rule else None
        if objection is not None:
            rule_id = "pickle.call-denied" if objection.malicious else "pickle.call-unlisted"
            self._context.report(rule_id, f"{opcode} {target.path}: {objection.reason}", offset)

    def _unlisted_call(self, offset: int, opcode: str, target: Global, arguments: Any) -> None:
        what = f"{opcode} calls {target.path} with {shown(arguments)}"
        runs = opcode not in ("NEWOBJ", "NEWOBJ_EX")
        gadget = runs and self._allowlist.is_gadget(target.module, target.name)
        if gadget or target.grade in (Grade.DENIED, Grade.REFERENCE):
            self._context.report("pickle.call-denied", what, offset)
        elif any(_PAYLOAD.search(text) for text in texts_in(arguments)):
            self._context.report("pickle.payload-text", what, offset)
        else:
            self._context.report("pickle.call-unlisted", what, offset)

    def build(self, offset: int, target: Any, state: Any) -> None:
        """A class, function or module must not be changed; an instance is what BUILD is for."""
        if isinstance(target, Global):
            self._context.report("pickle.build-on-global", f"BUILD changes {target.path} with {shown(state)}", offset)
        elif isinstance(target, Instance):
            target.state = state

    def store(self, offset: int, opcode: str, target: Any) -> None:
        """Items may go into an instance of a listed class (`OrderedDict`), never into a global."""
        if isinstance(target, Global):
            self._context.report("pickle.store-in-global", f"{opcode} stores in {target.path}", offset)
        elif not isinstance(target, Instance) and target is not OPAQUE:
            raise Invalid(f"{opcode} at offset {offset} stores in {shown(target)}")

    def extension(self, offset: int, code: int) -> Any:
        """Report a global that is named by number."""
        self._context.report("pickle.extension-code", f"EXT names the global with registry number {code}", offset)
        return Instance(f"extension {code}")

    def persistent(self, offset: int, identity: Any) -> Any:
        """Accept the storages of torch, report anything else."""
        if self._reading is Reading.PLAIN:
            raise Invalid(f"pickle.load refuses the persistent id at offset {offset}")
        if (
            self._reading in (Reading.TORCH, Reading.SCRIPT)
            and isinstance(identity, tuple)
            and len(identity) >= 5
            and identity[0] == "storage"
        ):
            self.storages[str(identity[2])] = identity
            return OPAQUE
        self._context.report("pickle.persistent-id", f"asks the loader for the object {shown(identity)}", offset)
        return Instance("a persistent id")

    def bomb(self, index: int, entries: int) -> None:
        """Report a memo index that makes the loader take memory for nothing."""
        self._context.report("pickle.memo-bomb", f"notes a value under {index}, the memo has {entries}")

    def buffer(self, offset: int) -> Any:
        """Report a buffer that is not in the file."""
        self._context.report("pickle.buffer", "NEXT_BUFFER asks for a buffer outside the stream", offset)
        return OPAQUE


def _may_be_text(value: Any) -> bool:
    return value is OPAQUE or (isinstance(value, Instance) and value.may_be_text)


def _class_of(target: Global, arguments: Any) -> str:
    """What the result is an instance of: `copyreg` instantiates its first argument."""
    if target.module == "copyreg" and isinstance(arguments, tuple) and arguments and isinstance(arguments[0], Global):
        return arguments[0].path
    return target.path


def _skips_constructor(opcode: str, arguments: Any) -> bool:
    return opcode in ("NEWOBJ", "NEWOBJ_EX") or (opcode in ("OBJ", "INST") and arguments == ())


def texts_in(value: Any, depth: int = 4) -> list[str]:
    """All text in a value, as deep as a payload is usually wrapped."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, bytes):
        return [str(value, "latin-1")]
    if depth and isinstance(value, tuple | Container):
        items = value if isinstance(value, tuple) else value.items
        return [text for item in items for text in texts_in(item, depth - 1)]
    return []
