"""Holds what a pickle would do against the allow-lists. What is not listed is unknown, and unknown is not clean."""

from __future__ import annotations

from typing import Any, Final

from vallum_common.errors import Exhausted, Invalid
from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.context import MAX_SHOWN, Context, shown
from vallum_validator.scan.pickled.answers import any_answers, instances_in, is_harmless_to_hold, keeps_only
from vallum_validator.scan.pickled.arguments import (
    CLASS_FIRST,
    FOLLOWED,
    IMPORTS,
    NESTED_TORCH,
    TOOLS,
    Objection,
    encoded,
    rule_for,
)
from vallum_validator.scan.pickled.arrays import (
    ARRAY,
    LOOKED_INTO,
    WRAPPER,
    note_texts,
    objection_to_dtype,
    parts_of_wrapper,
)
from vallum_validator.scan.pickled.formulas import objection_to_formula
from vallum_validator.scan.pickled.methods import objection_to_method
from vallum_validator.scan.pickled.payloads import is_payload, texts_in
from vallum_validator.scan.pickled.readings import NO_PICKLE, Reading, cannot_be_imported
from vallum_validator.scan.pickled.shadows import (
    attributes,
    call_of_partial,
    objection_to_items,
    objection_to_shadowing,
)
from vallum_validator.scan.pickled.states import (
    holds_items,
    is_shared,
    objection_to_parts,
    objection_to_slots,
    objection_to_state,
    objection_to_taking_apart,
)
from vallum_validator.scan.pickled.values import (
    OPAQUE,
    Container,
    Global,
    Grade,
    Instance,
    Stretch,
    Tool,
    keys_of,
)

_REPORT_COST: Final = 30
"""Opcodes charged for a finding: its message takes as long to write."""
_TEXT_PER_STEP: Final = 4
"""Characters that are looked at for the cost of one opcode."""
_SCRIPT_MODULES: Final = frozenset({"torch.jit._pickle", "torch._utils"})
COMPANIONS: Final = frozenset(
    {"joblib.numpy_pickle_compat.NDArrayWrapper", "joblib.numpy_pickle_compat.ZNDArrayWrapper"}
)
"""joblib before 0.10 kept each array in a file of its own, which today's joblib still loads, pickles in it included."""
_FROM_BUFFER: Final = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})
_GIVES_TEXT: Final = frozenset({"builtins.str", "builtins.getattr"})


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

    def _report(self, rule: str, opcode: str, message: str, offset: int) -> None:
        self._context.budget.step(_REPORT_COST)
        self._context.report(rule, f"{opcode} {message}", offset)

    def name(self, offset: int, opcode: str, module: str, name: str) -> Global:
        """Grade a global and report it where it may not be named."""
        self._context.budget.step((len(module) + len(name)) // _TEXT_PER_STEP)
        grade = self._allowlist.grade(module, name)
        if grade is Grade.UNLISTED and f"{module}.{name}" in FOLLOWED:
            grade = Grade.CALLABLE
        if self._reading is Reading.SCRIPT and (module.partition(".")[0] == "__torch__" or module in _SCRIPT_MODULES):
            grade = Grade.CALLABLE
        if self._allowlist.fault:
            self._report("scan.lists-invalid", opcode, f"needs a list: {self._allowlist.fault}", offset)
        if grade is Grade.CALLABLE and f"{module}.{name}" in TOOLS:
            found: Global = Tool(module, name, grade, offset, self._handed_on)
        else:
            found = Global(module, name, grade, offset)
        if found.grade is Grade.UNLISTED and cannot_be_imported(module, name, self._reading, self._allowlist):
            raise Invalid(f"no module {shown(module)} has {shown(name)}")
        self.named.add(found.path[:MAX_SHOWN])
        if found.grade is Grade.DENIED:
            what = f"names {shown(found.path)}, which is never part of a model"
            self._report("pickle.global-denied", opcode, what, offset)
        elif found.grade is Grade.UNLISTED:
            what = f"names {shown(found.path)}, which no allow-list knows"
            self._report("pickle.global-unlisted", opcode, what, offset)
        return found

    def _handed_on(self, tool: Tool) -> None:
        rule = "pickle.call-denied" if TOOLS[tool.path] else "pickle.call-unlisted"
        self._report(rule, "GLOBAL", f"hands {tool.path} on, to be called where nobody sees it", tool.offset)

    def name_computed(self, offset: int, module: Any, name: Any) -> Any:
        """Report a global whose name is no text; where it is plain data the real unpickler fails."""
        if all(isinstance(part, str) or _may_be_text(part) for part in (module, name)):
            what = f"with a computed name: {shown(module)}, {shown(name)}"
            self._report("pickle.global-computed", "STACK_GLOBAL", what, offset)
            return Instance("a computed global")
        raise Invalid(f"STACK_GLOBAL at offset {offset} needs two texts, got {shown(module)} and {shown(name)}")

    def call(self, offset: int, opcode: str, target: Any, arguments: Any) -> Any:
        """Decide whether loading an honest model makes this call."""
        if opcode in ("NEWOBJ", "NEWOBJ_EX") and not isinstance(arguments, tuple | Instance):
            raise Invalid(f"{opcode} at offset {offset} needs a tuple of arguments, got {shown(arguments)}")
        if isinstance(target, Instance) and target.source in (WRAPPER, ARRAY):
            raise Invalid(f"{opcode} at offset {offset} calls {target!r}, which cannot be called")
        if isinstance(target, Instance) and (inner := call_of_partial(target, arguments)) is not None:
            return self.call(offset, opcode, *inner)
        if isinstance(target, Instance):
            self._report("pickle.call-of-result", opcode, f"calls {target!r} with {shown(arguments)}", offset)
            return Instance(f"calling {target!r}"[:200])
        if not isinstance(target, Global):
            raise Invalid(f"{opcode} at offset {offset} calls {shown(target)}, which cannot be called")
        if target.grade < Grade.CLASS:
            self._unlisted_call(offset, opcode, target, arguments)
        elif target.grade is Grade.CLASS and not _skips_constructor(opcode, arguments):
            what = f"runs the constructor of {target.path} with {shown(arguments)}"
            self._report(self._rule_for_unlisted(arguments), opcode, what, offset)
        elif (result := self._listed_call(offset, opcode, target, arguments)) is not None:
            return result
        may_be_text = target.grade < Grade.CLASS or target.path in _GIVES_TEXT
        source = _class_of(target, arguments)
        kept = arguments if source in LOOKED_INTO else None
        made = Instance(source, kept, may_be_text=may_be_text, answers=self._any_answers(arguments))
        made.given = [] if is_harmless_to_hold(arguments) else [arguments]
        return made

    def _any_answers(self, value: Any, *, callables: bool = False) -> bool:
        return any_answers((value,), self._context.budget, callables=callables)

    def _listed_call(self, offset: int, opcode: str, target: Global, arguments: Any) -> Any:
        """Judge the arguments; gives the result where more is known of it than what made it, else `None`."""
        self._check_arguments(offset, opcode, target, arguments)
        if target.path in _FROM_BUFFER and isinstance(arguments, tuple) and len(arguments) > 1:
            note_texts(self._context.budget, arguments[1], arguments[0], place=offset)
        if not keeps_only(target.path) and self._any_answers(arguments):
            what = f"{target.path} is given what answers with a function of the file's choice: {shown(arguments)}"
            self._report("pickle.call-unlisted", opcode, what, offset)
        match target.path:
            case "_codecs.encode":
                return encoded(arguments)
            case "builtins.getattr":
                return self._attribute(offset, arguments)
            case "dill._dill._load_type":
                return self._type_by_name(offset, opcode, arguments)
            case "dill._dill._create_array":
                return self._created(offset, opcode, arguments)
            case path if path in IMPORTS and IMPORTS[path](arguments, self._allowlist) is None:
                return self.name(offset, opcode, *arguments)
        return None

    def _type_by_name(self, offset: int, opcode: str, arguments: Any) -> Any:
        """dill names a type of Python by its name alone, those of the module `types` among them."""
        name = arguments[0] if isinstance(arguments, tuple) and len(arguments) == 1 else None
        if isinstance(name, str):
            return self.name(offset, opcode, "types" if name.endswith("Type") else "builtins", name)
        return self.name_computed(offset, "builtins", name)

    def _created(self, offset: int, opcode: str, arguments: Any) -> Any:
        """dill makes an array by the call, the state and the attributes that it is given."""
        if not (isinstance(arguments, tuple) and len(arguments) in (3, 4)):
            raise Invalid(f"dill needs a function, its arguments and a state, got {shown(arguments)}")
        function, made, state = arguments[:3]
        attributes = arguments[3] if len(arguments) == 4 else None
        if not (isinstance(function, Global) and function.path in CLASS_FIRST):
            self._report("pickle.call-denied", opcode, f"has dill call {shown(function)} with {shown(made)}", offset)
            return None
        array = self.call(offset, opcode, function, made)
        for part in (state, attributes):
            if part is not None:
                self.build(offset, array, part)
        return array

    def _attribute(self, offset: int, arguments: Any) -> Global | None:
        """What `getattr` gives where it is listed: `ZoneInfo._unpickle`, which is called next."""
        if not (isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[0], Global)):
            return None
        owner, name = arguments
        grade = self._allowlist.grade(owner.module, f"{owner.name}.{name}")
        return Global(owner.module, f"{owner.name}.{name}", grade, offset) if grade > Grade.UNLISTED else None

    def _check_arguments(self, offset: int, opcode: str, target: Global, arguments: Any) -> None:
        if target.path == NESTED_TORCH:
            self._inspect_nested(offset, opcode, arguments)
            return
        rule = rule_for(target.path)
        objection = rule(arguments, self._allowlist) if rule else None
        if objection is not None:
            self._object(objection, opcode, target.path, offset)

    def _inspect_nested(self, offset: int, opcode: str, arguments: Any) -> None:
        """A tensor in a plain pickle is a file of torch's, which `torch.load` reads with all it may name."""
        content = arguments[0] if isinstance(arguments, tuple) and len(arguments) == 1 else None
        found = ""
        if isinstance(content, Stretch):
            found = self._context.inspect(content.data, self._context.enter(f"bytes at {offset}"))
        elif isinstance(content, bytes):
            found = self._context.inspect(memoryview(content), self._context.enter(f"bytes at {offset}"))
        if not found.startswith("torch"):
            self._report("pickle.call-unlisted", opcode, f"has torch load {shown(content)}", offset)

    def _object(self, objection: Objection, opcode: str, path: str, offset: int) -> None:
        rule = "pickle.call-denied" if objection.malicious else "pickle.call-unlisted"
        self._report(rule, opcode, f"{path}: {objection.reason}", offset)

    def _unlisted_call(self, offset: int, opcode: str, target: Global, arguments: Any) -> None:
        what = f"calls {target.path} with {shown(arguments)}"
        runs = opcode not in ("NEWOBJ", "NEWOBJ_EX")
        gadget = runs and self._allowlist.is_gadget(target.module, target.name)
        if gadget or target.grade in (Grade.DENIED, Grade.REFERENCE):
            rule = "pickle.call-denied"
        else:
            rule = self._rule_for_unlisted(arguments)
        self._report(rule, opcode, what, offset)

    def _rule_for_unlisted(self, arguments: Any) -> str:
        """Which rule an unlisted call breaks: what it is given may show what it is for."""
        for text in texts_in(arguments):
            self._context.budget.step(1 + len(text) // _TEXT_PER_STEP)
            if is_payload(text):
                return "pickle.payload-text"
        return "pickle.call-unlisted"

    def build(self, offset: int, target: Any, state: Any) -> None:
        """A class, function or module must not be changed; an instance is what BUILD is for."""
        if isinstance(target, Global) or (isinstance(target, Instance) and is_shared(target)):
            what = target.path if isinstance(target, Global) else repr(target)
            self._report("pickle.build-on-global", "BUILD", f"changes {what} with {shown(state)}", offset)
        elif isinstance(target, Instance):
            inside, named = self._any_answers(state), list(attributes(state))
            self._hold(offset, "BUILD", target, [state])
            for objection in (
                objection_to_state(target, state),
                objection_to_shadowing(target, state, named=named, allowlist=self._allowlist),
                objection_to_taking_apart(target) if inside else None,
                objection_to_parts(target, state, self._context.budget),
                objection_to_slots(target, state),
                objection_to_dtype(target, state),
                objection_to_formula(target.source, named),
                objection_to_method(target.source, named),
            ):
                if objection is not None:
                    self._object(objection, "BUILD", target.source, offset)
            if target.source in COMPANIONS:
                what = f"has joblib read the file that {target.source} names: {shown(state)}"
                self._report("pickle.companion-file", "BUILD", what, offset)
            if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], Container):
                self._slots(offset, target, state[1])
            if target.source in LOOKED_INTO:
                # A second state is added to the first. What that makes of an array or a type is not followed.
                target.state = state if target.state is None else OPAQUE

    def _slots(self, offset: int, target: Instance, slots: Container) -> None:
        """The second part of a state is set attribute by attribute, and an object's class is one of them."""
        attributes = slots.as_dict()
        if attributes is None:
            raise Exhausted(f"BUILD at offset {offset} sets more attributes of {target!r} than are followed")
        if "__class__" in attributes:
            what = f"makes {target!r} one of {shown(attributes['__class__'])}"
            self._report("pickle.class-changed", "BUILD", what, offset)

    def store(self, offset: int, opcode: str, target: Any, items: list[Any]) -> None:
        """Items may go into an instance of a listed class (`OrderedDict`), never into a global."""
        if isinstance(target, Global):
            self._report("pickle.store-in-global", opcode, f"stores in {target.path}", offset)
        elif isinstance(target, Instance):
            if target.source in (WRAPPER, ARRAY):
                raise Invalid(f"{opcode} at offset {offset} stores in {target!r}, which takes no items")
            module, _, name = target.source.rpartition(".")
            if not (holds_items(target) or self._allowlist.stores(module, name)):
                what = f"stores in {target!r}, which runs code of its class"
                self._report("pickle.call-unlisted", opcode, what, offset)
            if opcode in ("SETITEM", "SETITEMS") and (objection := objection_to_items(target, items)) is not None:
                self._object(objection, opcode, target.source, offset)
            self.keyed(offset, opcode, keys_of("set" if opcode == "ADDITEMS" else "dict", items))
            self._hold(offset, opcode, target, items)
        elif target is not OPAQUE:
            raise Invalid(f"{opcode} at offset {offset} stores in {shown(target)}")

    def _hold(self, offset: int, opcode: str, target: Instance, values: list[Any]) -> None:
        """Note what an instance is given, by which it may come to answer."""
        if target.source == WRAPPER:
            values = [part for value in values for part in parts_of_wrapper(value)]
        target.attributes += [value for value in values if not is_harmless_to_hold(value)]
        if target.answers or not any_answers(values, self._context.budget, callables=True):
            return
        target.answers = True
        if target.hashed:
            self._report("pickle.call-unlisted", opcode, f"has a key answer with a function: {target!r}", offset)
        elif self._reading in NO_PICKLE:
            what = f"has {target!r} answer with a function of the file's choice"
            self._report("pickle.call-unlisted", opcode, what, offset)

    def keyed(self, offset: int, opcode: str, keys: list[Any]) -> None:
        """No key may answer with a function of the file's choice: it is asked for its hash, and whether it is equal."""
        for key in keys:
            for part in instances_in(key, self._context.budget):
                part.hashed = True
            if self._any_answers(key):
                what = f"takes for a key what answers with a function of the file's choice: {shown(key)}"
                self._report("pickle.call-unlisted", opcode, what, offset)

    def extension(self, offset: int, opcode: str, code: int) -> Any:
        """Report a global that is named by number."""
        if self._reading in NO_PICKLE:
            raise Invalid(f"no extension has the code {code}")
        self._report("pickle.extension-code", opcode, f"names the global with registry number {code}", offset)
        return Instance(f"extension {code}")

    def persistent(self, offset: int, opcode: str, identity: Any) -> Any:
        """Accept the storages of torch, report anything else."""
        if self._reading in NO_PICKLE:
            raise Invalid(f"pickle.load refuses the persistent id at offset {offset}")
        if (
            self._reading in (Reading.TORCH, Reading.SCRIPT)
            and isinstance(identity, tuple)
            and len(identity) >= 5
            and identity[0] == "storage"
            and isinstance(identity[2], str | int)
        ):
            self.storages[shown(identity[2])] = identity
            return OPAQUE
        if self._reading is Reading.TORCH and isinstance(identity, tuple) and len(identity) == 4:
            kind, cls, *_source = identity
            if kind == "module" and isinstance(cls, Global):
                return cls  # torch before 1.6 keeps the source of a module's class beside it, and only compares it
        self._report("pickle.persistent-id", opcode, f"asks the loader for the object {shown(identity)}", offset)
        return Instance("a persistent id")

    def bomb(self, offset: int, index: int, entries: int) -> None:
        """Report a memo index that makes the loader take memory for nothing."""
        self._report("pickle.memo-bomb", "PUT", f"notes a value under {index}, the memo has {entries}", offset)

    def buffer(self, offset: int) -> Any:
        """Report a buffer that is not in the file."""
        if self._reading in NO_PICKLE:
            raise Invalid(f"pickle.load has no buffer for offset {offset}")
        self._report("pickle.buffer", "NEXT_BUFFER", "asks for a buffer outside the stream", offset)
        return OPAQUE


def _may_be_text(value: Any) -> bool:
    return value is OPAQUE or (isinstance(value, Instance) and value.may_be_text)


def _class_of(target: Global, arguments: Any) -> str:
    """What the result is an instance of, which for some callables is their first argument."""
    makes_first = target.module == "copyreg" or target.path in CLASS_FIRST
    if makes_first and isinstance(arguments, tuple) and arguments and isinstance(arguments[0], Global):
        return arguments[0].path
    return target.path


def _skips_constructor(opcode: str, arguments: Any) -> bool:
    return opcode in ("NEWOBJ", "NEWOBJ_EX") or (opcode in ("OBJ", "INST") and arguments == ())
