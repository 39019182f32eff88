"""Where joblib keeps the raw bytes of an array: between the opcodes, right behind the BUILD of its wrapper.

`joblib.load` reads them from the file, plain `pickle.load` would run them as opcodes. A file is clean only if neither
does harm, so both ways are followed.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.context import Budget, shown
from vallum_validator.scan.pickled.arguments import Objection
from vallum_validator.scan.pickled.machine import Machine
from vallum_validator.scan.pickled.values import Container, Global, Instance, Opaque
from vallum_validator.scan.texts import Texts

WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
ARRAY: Final = "a joblib array"
"""What stands for an array that was read."""
NDARRAY: Final = "numpy.ndarray"
LOOKED_INTO: Final = frozenset({WRAPPER, NDARRAY, "numpy.dtype", "functools.partial"})
"""The classes of which arguments and state must be known, to know where an array ends and what it is of."""
_NEAR: Final = 64
"""Bytes of opcodes between the content of an array and its BUILD."""
_DTYPE: Final = re.compile(r"[<>|=]?([biufcmMSUVO])([0-9]{1,9})\Z")
"""As numpy pickles it: kind and size. `i` alone is a type of four bytes, `M` one of eight."""
_FLAGGED: Final = (3, 4)
"""The versions of the state of a dtype in which its flags are taken from the stream."""
_CHARACTER_WIDTH: Final = {"U": 4}
_HAS_OBJECT: Final = 1

Nested = Callable[[int], int]
"""Follows the pickle at an offset; returns the offset behind it."""


def parts_of_wrapper(state: Any) -> list[Any]:
    """What a wrapper holds beside the class of its array, which makes arrays and nothing else, whoever calls it.

    To plain `pickle.load` a wrapper is an object like others, and behind an empty array it reads on.
    """
    if not isinstance(state, Container):
        return [state]
    return [part for part in state.active() if not (isinstance(part, Global) and part.path == NDARRAY)]


def array_skipper(nested: Nested, alternative: Callable[[Machine, int], None]) -> Callable[[Machine, Any, int], int]:
    """What a machine does after BUILD to read a file as joblib does.

    Args:
        nested: follows the pickle of an array of objects.
        alternative: told where raw bytes begin that plain `pickle.load` would take for opcodes.
    """

    def after_build(machine: Machine, target: Any, position: int) -> int:
        if isinstance(target, Instance) and target.source == NDARRAY:
            _note_built(machine, target.state, position)
        if not (isinstance(target, Instance) and target.source == WRAPPER):
            return position
        if machine.frame_end > position:
            raise Invalid(f"the array at offset {position} lies inside a frame, joblib ends the frame before it")
        alternative(machine, position)
        end = _end_of_array(machine, target.state, position, nested)
        machine.stack[-1] = Instance(ARRAY)
        return end

    return after_build


def _end_of_array(machine: Machine, state: Any, position: int, nested: Nested) -> int:
    fields = state.as_dict() if isinstance(state, Container) else None
    if fields is None or not {"dtype", "shape"} <= fields.keys():
        raise Invalid(f"the array wrapper before offset {position} has no dtype and shape: {shown(state)}")
    itemsize, has_object = dtype_size(fields["dtype"])
    if has_object:
        return nested(position)
    start = position
    if fields.get("numpy_array_alignment_bytes") is not None:
        start = machine.end_of(position, 1)
        start = machine.end_of(start, machine.data[position])
    end = machine.end_of(start, _count(fields["shape"]) * itemsize)
    machine.budget.noted.last(end)
    machine.budget.noted.typed(_kind(fields["dtype"]), machine.data[start:end], itemsize, start)
    return end


def _note_built(machine: Machine, state: Any, position: int) -> None:
    """Note the array that a plain pickle builds: version, shape, dtype, order and content."""
    if not (isinstance(state, tuple) and len(state) == 5):
        return
    content = state[4]
    if isinstance(content, Opaque) and (lies := machine.budget.noted.last(position)):
        with contextlib.suppress(Invalid):
            itemsize, _ = dtype_size(state[2])
            machine.budget.noted.typed(_kind(state[2]), machine.data[lies[0] : lies[1]], itemsize, lies[0])
            return
        machine.budget.noted.constants.append(lies)
    elif isinstance(content, bytes) and content:
        begin = max(0, position - len(content) - _NEAR)
        near = bytes(machine.data[begin:position]).rfind(content)
        note_texts(machine.budget, state[2], content, place=position - 1, offset=begin + near if near >= 0 else None)


def note_texts(budget: Budget, dtype: Any, content: Any, *, place: int, offset: int | None = None) -> None:
    """Note an array of texts, so that each is searched for credentials; any other is passed over.

    Args:
        budget: where it is noted.
        dtype: as it was pickled.
        content: the bytes of the array, as far as they are known.
        place: of the opcode that makes it.
        offset: of the content, where it lies in the stream as it is.
    """
    if isinstance(content, Container):
        content = b"".join(part for part in content.contents() if isinstance(part, bytes))
    with contextlib.suppress(Invalid):
        itemsize, _ = dtype_size(dtype)
        if isinstance(content, bytes) and _kind(dtype) in "SU":
            texts = Texts.of(memoryview(content), _kind(dtype), itemsize, offset, place=place)
            budget.noted.texts += [texts] if texts else []
        elif isinstance(content, Opaque) and _kind(dtype) not in "SUVO":
            budget.noted.numbers += filter(None, [budget.noted.last(place)])


def _kind(dtype: Any) -> str:
    """The letter of a dtype that `dtype_size` knows."""
    match = _DTYPE.match(dtype.arguments[0])
    return match[1] if match else ""


def _count(shape: Any) -> int:
    if isinstance(shape, tuple) and all(type(length) is int and length >= 0 for length in shape):
        return math.prod(shape)
    raise Invalid(f"the shape of an array must be a tuple of sizes, got {shown(shape)}")


def dtype_size(dtype: Any) -> tuple[int, bool]:
    """The size in bytes of one element, and whether it holds Python objects.

    Raises:
        Invalid: the dtype is not one that numpy itself pickles, or contradicts itself.
    """
    arguments = dtype.arguments if isinstance(dtype, Instance) and dtype.source == "numpy.dtype" else None
    code = arguments[0] if isinstance(arguments, tuple) and arguments else None
    match = _DTYPE.match(code) if isinstance(code, str) else None
    if match is None:
        raise Invalid(f"the dtype of an array must be a numpy.dtype, got {shown(dtype)} with {shown(arguments)}")
    kind, size = match[1], int(match[2] or 1) * _CHARACTER_WIDTH.get(match[1], 1)
    state = dtype.state
    if state is None:
        return size, kind == "O"
    if not isinstance(state, tuple) or len(state) < 8 or state[0] not in _FLAGGED or type(state[7]) is not int:
        raise Invalid(f"the state of dtype {code!r} must have version 3 or 4 and eight parts, got {shown(state)}")
    if kind in "VSU" and state[5] != size:
        raise Invalid(f"dtype {code!r} says its size is {shown(state[5])}")
    # numpy believes the flags, whatever the kind is.
    has_object = bool(state[7] & _HAS_OBJECT)
    if has_object != (kind == "O") and kind != "V":
        raise Invalid(
            f"dtype {code!r} says by its flags {state[7]} that it {'holds' if has_object else 'is no'} object"
        )
    return size, has_object


_COUNTED: Final = 0b1011
"""Flags of a dtype with objects: they are counted, pickled as a list, and begin as null."""


def objection_to_dtype(target: Instance, state: Any) -> Objection | None:
    """Why a dtype may not be given that state: numpy believes it, and takes bytes of the file for pointers."""
    if target.source != "numpy.dtype":
        return None
    if not isinstance(state, tuple) or len(state) < 8 or type(state[7]) is not int:
        return Objection(f"numpy.dtype is restored from {shown(state)}")
    try:
        objects = _holds_objects(Instance(target.source, target.arguments, state))
    except Invalid as error:
        return Objection(f"numpy.dtype is restored from {shown(state)}: {error.message}")
    counted = state[7] & _COUNTED
    if objects and counted != _COUNTED:
        return Objection(f"says by its flags {state[7]} that its objects are numbers", malicious=True)
    if not objects and counted & _HAS_OBJECT:
        return Objection(f"says by its flags {state[7]} that its numbers are objects", malicious=True)
    try:
        reason = _overreach(Instance(target.source, target.arguments, state))
    except Invalid as error:
        return Objection(f"numpy.dtype is restored from {shown(state)}: {error.message}")
    return Objection(reason, malicious=True) if reason else None


def _overreach(dtype: Instance) -> str | None:
    """How fields reach out of their element or into one another's objects; numpy only adds up what the state says."""
    state = dtype.state
    base, fields = state[2], state[4]
    if base is None and fields is None:
        return None
    size = _size(dtype)
    if isinstance(base, tuple) and len(base) == 2:
        shape = base[1] if isinstance(base[1], tuple) else (base[1],)
        inner = _size(base[0]) * _count(shape)
        return None if inner == size else f"has {inner} bytes of parts in an element of {size}"
    parts = fields.as_dict() if isinstance(fields, Container) else {}
    taken: list[tuple[int, int, bool]] = []
    for name, part in (parts or {}).items():
        offset = part[1] if len(part) > 1 else None
        end = offset + _size(part[0]) if type(offset) is int else -1
        if type(offset) is not int or offset < 0 or end > size:
            return f"has the field {shown(name)} at {shown(offset)} in an element of {size} bytes"
        taken.append((offset, end, _holds_objects(part[0])))
    for (_, end, first), (begin, _, second) in pairwise(sorted(taken)):
        if begin < end and (first or second):
            return f"has a field at {begin} that overlaps with another one of objects"
    return None


def _size(dtype: Any) -> int:
    """The bytes of an element as the state says. Raises: Invalid where it does not."""
    state = dtype.state if isinstance(dtype, Instance) and dtype.source == "numpy.dtype" else None
    if isinstance(state, tuple) and len(state) >= 8 and type(state[5]) is int and state[5] >= 0:
        return state[5]
    return dtype_size(dtype)[0]


def _holds_objects(dtype: Any) -> bool:
    """Whether an element holds objects, by kind and fields of the dtype. Raises: Invalid where these do not tell."""
    arguments = dtype.arguments if isinstance(dtype, Instance) and dtype.source == "numpy.dtype" else None
    code = arguments[0] if isinstance(arguments, tuple) and arguments else None
    if not (isinstance(code, Global) or (isinstance(code, str) and _DTYPE.match(code))):
        raise Invalid(f"{shown(code)} is no code that numpy pickles")
    if isinstance(code, str) and "V" not in code:
        return "O" in code
    state = dtype.state
    base, fields = (state[2], state[4]) if isinstance(state, tuple) and len(state) >= 8 else (None, None)
    if isinstance(base, tuple) and base:
        return _holds_objects(base[0])
    if fields is None:
        return False
    parts = fields.as_dict() if isinstance(fields, Container) else None
    if parts is None or not all(isinstance(part, tuple) and part for part in parts.values()):
        raise Invalid(f"the fields {shown(fields)} are not known")
    return any(map(_holds_objects, (part[0] for part in parts.values())))
