"""The opcodes that import, call, instantiate and change: those an attack needs."""

from __future__ import annotations

from typing import Any

from vallum_common.errors import Invalid
from vallum_validator.scan.pickled.machine import Machine


def global_line(machine: Machine, start: int) -> int:
    """GLOBAL: module and name as two lines."""
    module, middle = machine.line(start)
    name, end = machine.line(middle)
    machine.stack.append(machine.observer.name(start - 1, "GLOBAL", *machine.import_as(_word(module), _word(name))))
    return end


def _word(raw: bytes) -> str:
    return str(raw, "utf-8", "backslashreplace")


def global_from_stack(machine: Machine, start: int) -> int:
    """STACK_GLOBAL: module and name are the two topmost values."""
    name, module = machine.pop(), machine.pop()
    if isinstance(name, str) and isinstance(module, str):
        value: Any = machine.observer.name(start - 1, "STACK_GLOBAL", *machine.import_as(module, name))
    else:
        value = machine.observer.name_computed(start - 1, module, name)
    machine.stack.append(value)
    return start


def reduce(machine: Machine, start: int) -> int:
    """REDUCE: `callable(*arguments)`."""
    arguments, target = machine.pop(), machine.pop()
    machine.stack.append(machine.observer.call(start - 1, "REDUCE", target, arguments))
    return start


def new_object(machine: Machine, start: int) -> int:
    """NEWOBJ: `cls.__new__(cls, *arguments)`."""
    arguments, target = machine.pop(), machine.pop()
    machine.stack.append(machine.observer.call(start - 1, "NEWOBJ", target, arguments))
    return start


def new_object_with_keywords(machine: Machine, start: int) -> int:
    """NEWOBJ_EX: `cls.__new__(cls, *arguments, **keywords)`."""
    keywords, arguments, target = machine.pop(), machine.pop(), machine.pop()
    both = (*arguments, keywords) if isinstance(arguments, tuple) else arguments
    machine.stack.append(machine.observer.call(start - 1, "NEWOBJ_EX", target, both))
    return start


def instance(machine: Machine, start: int) -> int:
    """OBJ: the class and its arguments since the mark."""
    values = machine.pop_mark(bare=True)
    if not values:
        raise Invalid(f"OBJ at offset {start - 1} has no class")
    machine.stack.append(machine.observer.call(start - 1, "OBJ", values[0], tuple(values[1:])))
    return start


def instance_line(machine: Machine, start: int) -> int:
    """INST: the class as two lines, its arguments since the mark."""
    module, middle = machine.line(start)
    name, end = machine.line(middle)
    target = machine.observer.name(start - 1, "INST", *machine.import_as(_word(module), _word(name)))
    arguments = tuple(machine.pop_mark(bare=True))
    machine.stack.append(machine.observer.call(start - 1, "INST", target, arguments))
    return end


def build(machine: Machine, start: int) -> int:
    """BUILD: give the object on top a state."""
    state = machine.pop()
    target = machine.stack[-1]
    machine.observer.build(start - 1, target, state)
    if machine.after_build is None:
        return start
    return machine.after_build(machine, target, start)
