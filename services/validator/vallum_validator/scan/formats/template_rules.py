"""What a chat template may be made of, as rules on the nodes of its syntax tree.

Source: the environment of transformers (`utils/chat_template_utils.py`): the immutable sandbox with loop controls, the
tag `generation`, the filter `tojson` and the functions `raise_exception` and `strftime_now`; the filters, tests and
methods are those that published templates use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final

from jinja2 import nodes
from jinja2.ext import ExprStmtExtension, Extension, InternationalizationExtension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vallum_validator.scan.context import shown
from vallum_validator.scan.expressions import later

_MAX_NODES: Final = 50_000
_MAX_REPEAT: Final = 10_000
"""The largest number a template may write into `range` or multiply by."""

_NODES: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.AssignBlock, nodes.Macro,
    nodes.Scope, nodes.Break, nodes.Continue, nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict,
    nodes.Pair, nodes.Keyword, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr,
    nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.With,
)  # fmt: skip
_FILTERS: Final = frozenset(
    {"abs", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "from_json",
     "fromjson", "indent", "int", "items", "join", "keys", "last", "length", "list", "lower", "map", "max", "min",
     "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort", "string",
     "strip", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "values", "wordcount"}
)  # fmt: skip
_NAMED: Final[Mapping[str, frozenset[str]]] = {
    "map": _FILTERS,
    **dict.fromkeys(
        ("select", "reject"),
        frozenset({"boolean", "defined", "equalto", "even", "in", "mapping", "none", "number", "odd", "string"}),
    ),
}
"""Filters whose first argument is itself the name of a filter or test."""
_TESTS: Final = frozenset(
    {"!=", "<", "<=", "==", ">", ">=", "boolean", "defined", "divisibleby", "eq", "equalto", "even", "false", "float",
     "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none",
     "number", "odd", "sameas", "sequence", "string", "true", "undefined", "upper"}
)  # fmt: skip
_FUNCTIONS: Final = frozenset({"range", "dict", "namespace", "raise_exception", "strftime_now", "tojson"})
_METHODS: Final = frozenset(
    {"append", "capitalize", "copy", "count", "endswith", "extend", "find", "get", "index", "insert", "isalnum",
     "isalpha", "isdigit", "isnumeric", "isspace", "items", "join", "keys", "lower", "lstrip", "partition", "pop",
     "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
     "splitlines", "startswith", "strip", "title", "update", "upper", "values"}
)  # fmt: skip
_RESERVED: Final = frozenset({"self", "caller", "varargs", "kwargs", "lipsum", "cycler", "joiner", "request", "config"})
_INTERNALS: Final = frozenset(
    {"format", "format_map", "mro", "subclasses", "func_globals", "func_code", "im_func", "im_self", "gi_frame",
     "gi_code", "cr_frame", "cr_code", "ag_frame", "ag_code", "f_globals", "f_builtins", "f_locals", "f_back",
     "tb_frame", "tb_next", "co_consts", "popen", "system", "getattr", "setattr", "globals", "builtins",
     "import_module"}
)  # fmt: skip
_ACTS: Final = frozenset(
    {"system", "popen", "Popen", "check_output", "check_call", "getoutput", "exec", "eval", "import_module", "spawn"}
)
"""What a template calls only when it has reached Python."""
_PYTHON: Final = frozenset({"lipsum", "cycler", "joiner"})
"""Names that stand for a function and classes of Python, in which there is nothing to look up by a name."""
_PIECE: Final = later(r"^_+$|^_[^_]|__|[^_]_$")
_DUNDER: Final = later(r"__\w+__|^__\w|\w__$")
_PATH: Final = later(r"\s*(?:[\w\[\]]+\.)*__\w+__(?:\.[\w\[\]]+)*\s*")
"""One internal name, or a path over one, as `groupby` and `map` follow it."""
_PICKS: Final = frozenset(
    {"count", "d", "default", "dictsort", "first", "int", "items", "last", "length", "list", "lower", "sort", "string",
     "trim", "upper"}
)  # fmt: skip
"""Filters that pick or tidy a value; their result in brackets is no name put together."""
_FILLING: Final = frozenset({"append", "extend", "insert", "setdefault", "update"})
_PICKING_METHODS: Final = frozenset({"get", "items", "keys", "lower", "strip", "upper", "values"})


@dataclass(frozen=True, slots=True)
class Objection:
    """What a rule has against a node.

    Args:
        line: where it stands in the template.
        what: in words, as the end of a sentence about the line.
        escapes: whether it certainly reaches for Python's internals.
        computes: whether it looks up a name that nobody can read in the template.
    """

    line: int
    what: str
    escapes: bool = False
    computes: bool = False


class _Generation(Extension):
    """The tag that transformers marks the answer of the assistant with."""

    tags = {"generation"}  # noqa: RUF012 - the name and kind that Jinja asks for

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """The environment that templates are parsed in, and never rendered."""
    # The last two are not those of transformers: what cannot be parsed cannot be judged.
    known = [_Generation, LoopControlExtension, ExprStmtExtension, InternationalizationExtension]
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=known)


def objections(tree: nodes.Template) -> Iterator[Objection]:
    """Everything in a template that a chat template does not need."""
    found = list(islice(_parts(tree), _MAX_NODES + 1))
    if len(found) > _MAX_NODES:
        yield Objection(1, f"begins more than {_MAX_NODES} nodes", computes=True)
        return
    macros = {node.name: node for node in found if isinstance(node, nodes.Macro)}
    built = {name for node in found for name in _built_names(node, macros)}
    for node in found:
        if not isinstance(node, _NODES):
            yield Objection(node.lineno, f"uses {type(node).__name__}")
            continue
        rule = _RULES.get(type(node))
        if rule:
            yield from rule(node)
        if isinstance(node, nodes.Getitem):
            yield from _subscript(node, built)
        elif isinstance(node, nodes.Call):
            yield from _call(node, macros.keys())


def _name(node: nodes.Name) -> Iterator[Objection]:
    if node.name in _RESERVED:
        yield Objection(node.lineno, f"uses the name {shown(node.name)}")
    elif node.name.startswith("_") and node.name != "_":
        yield Objection(node.lineno, f"uses the name {shown(node.name)}", escapes=node.name.startswith("__"))


def _attribute(node: nodes.Getattr) -> Iterator[Objection]:
    if node.attr.startswith("_"):
        yield Objection(node.lineno, f"takes the attribute {shown(node.attr)}", escapes=True)
    elif node.attr in _INTERNALS:
        yield Objection(node.lineno, f"takes the attribute {shown(node.attr)}")


def _constant(node: nodes.Const) -> Iterator[Objection]:
    if isinstance(node.value, str) and _PIECE.search(node.value):
        alone = bool(_DUNDER.search(node.value)) and node.value.strip("_").isidentifier()
        dunder = alone or bool(_PATH.fullmatch(node.value))
        yield Objection(node.lineno, f"writes {shown(node.value)}, a part of an internal name", escapes=dunder)


def _filter(node: nodes.Filter) -> Iterator[Objection]:
    if node.name not in _FILTERS:
        written = node.name == "groupby" and all(isinstance(argument, nodes.Const) for argument in node.args)
        by_name, what = node.name in ("attr", "groupby") and not written, f"uses the filter {shown(node.name)}"
        yield Objection(node.lineno, what, escapes=by_name and _is_python(node.node), computes=by_name)
        return
    named = _NAMED.get(node.name)
    first = node.args[0] if node.args else None
    if named is not None and first is not None and (not isinstance(first, nodes.Const) or first.value not in named):
        yield Objection(node.lineno, f"lets {node.name!r} apply {shown(getattr(first, 'value', 'a computed name'))}")
    if node.name in ("map", "selectattr", "rejectattr", "sort", "sum", "unique", "min", "max"):
        arguments = [*node.args[:1], *(pair.value for pair in node.kwargs if pair.key == "attribute")]
        if not all(isinstance(argument, nodes.Const) for argument in arguments) or node.dyn_args or node.dyn_kwargs:
            yield Objection(node.lineno, f"gives {node.name!r} a computed name", computes=True)


def _is_python(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Name) and node.name in _PYTHON


def _test(node: nodes.Test) -> Iterator[Objection]:
    if node.name not in _TESTS:
        yield Objection(node.lineno, f"uses the test {shown(node.name)}")


def _keyword(node: nodes.Keyword) -> Iterator[Objection]:
    if node.key.startswith("_"):
        yield Objection(node.lineno, f"names the argument {shown(node.key)}", escapes=node.key.startswith("__"))


def _modulo(node: nodes.Mod) -> Iterator[Objection]:
    if _is_text(node.left):
        yield Objection(node.lineno, "formats text with %")


def _product(node: nodes.Mul) -> Iterator[Objection]:
    for side in (node.left, node.right):
        if isinstance(side, nodes.Const) and isinstance(side.value, int | float) and side.value > _MAX_REPEAT:
            yield Objection(node.lineno, f"multiplies by {side.value}")
        elif isinstance(side, nodes.Mul):
            yield Objection(node.lineno, "multiplies more than once")


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Concat) or (isinstance(node, nodes.Const) and isinstance(node.value, str))


def _call(node: nodes.Call, macros: Set[str]) -> Iterator[Objection]:
    target = node.node
    if isinstance(target, nodes.Name) and target.name in _FUNCTIONS | macros:
        if target.name == "range":
            yield from _range(node)
    elif isinstance(target, nodes.Name):
        yield Objection(node.lineno, f"calls {shown(target.name)}")
    elif not isinstance(target, nodes.Getattr) or target.attr not in _METHODS:
        what = target.attr if isinstance(target, nodes.Getattr) else "the result of an expression"
        yield Objection(node.lineno, f"calls {shown(what)}", escapes=what in _ACTS)
    if node.dyn_args or node.dyn_kwargs:
        yield Objection(node.lineno, "calls with arguments that are unpacked")


def _range(node: nodes.Call) -> Iterator[Objection]:
    for part in (part for argument in node.args for part in _parts(argument)):
        if isinstance(part, nodes.Const) and isinstance(part.value, int) and abs(part.value) > _MAX_REPEAT:
            yield Objection(node.lineno, f"counts to {part.value}")
        elif isinstance(part, nodes.Mul):
            yield Objection(node.lineno, "counts to a product")


def _subscript(node: nodes.Getitem, built: Set[str]) -> Iterator[Objection]:
    """A name in brackets must be written, or come from the conversation; it must not be put together."""
    if _is_python(node.node):
        yield Objection(node.lineno, "looks up a name in a function of Python", escapes=True)
    for part in _parts(node.arg):
        name = part.name if isinstance(part, nodes.Name) else part.attr if isinstance(part, nodes.Getattr) else ""
        if name in built or _puts_together(part):
            yield Objection(node.lineno, "looks up a name that is put together", computes=True)
            return


def _puts_together(node: nodes.Node) -> bool:
    """Whether an expression may make text out of pieces; what counts positions does not."""
    if isinstance(node, nodes.Filter):
        return node.name not in _PICKS
    if isinstance(node, nodes.Call):
        return not (isinstance(node.node, nodes.Getattr) and node.node.attr in _PICKING_METHODS)
    if isinstance(node, nodes.Add):
        return not any(_is_number(side) for side in (node.left, node.right))
    if isinstance(node, nodes.Mul | nodes.Mod):
        return any(_is_text(side) for side in (node.left, node.right))
    return isinstance(node, nodes.Concat)


def _is_number(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Add | nodes.Sub):
        return _is_number(node.left) or _is_number(node.right)
    if isinstance(node, nodes.Getattr):
        return node.attr in ("index", "index0", "revindex", "revindex0", "length", "depth")
    if isinstance(node, nodes.Filter):
        return node.name in ("length", "count", "int")
    return isinstance(node, nodes.Const) and isinstance(node.value, int)


def _built_names(node: nodes.Node, macros: Mapping[str, nodes.Macro]) -> Iterator[str]:
    """Names that a statement gives to text put together."""
    if isinstance(node, nodes.AssignBlock) or (isinstance(node, nodes.Assign) and _any_put_together(node.node)):
        yield from _targets(node.target)
    elif isinstance(node, nodes.For) and isinstance(node.iter, nodes.List | nodes.Tuple):
        yield from _targets(node.target) if _any_put_together(node.iter) else ()
    elif isinstance(node, nodes.With) and any(map(_any_put_together, node.values)):
        for target in node.targets:
            yield from _targets(target)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        yield from _filled(node)
    elif isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in macros:
        arguments = [*node.args, *(pair.value for pair in node.kwargs)]
        if any(map(_any_put_together, arguments)):
            yield from (argument.name for argument in macros[node.node.name].args)


def _filled(node: nodes.Call) -> Iterator[str]:
    """The list or dictionary that a call puts such text into."""
    target = node.node
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    if isinstance(target, nodes.Getattr) and target.attr in _FILLING and any(map(_any_put_together, given)):
        yield from _targets(target.node)


def _any_put_together(node: nodes.Node) -> bool:
    return any(map(_puts_together, _parts(node)))


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and everything below it, without recursion: a chain of attributes may be as long as the template."""
    pending = [node]
    while pending:
        part = pending.pop()
        yield part
        pending.extend(part.iter_child_nodes())


def _targets(target: nodes.Node) -> Iterator[str]:
    for part in _parts(target):
        if isinstance(part, nodes.Name):
            yield part.name
        elif isinstance(part, nodes.NSRef):
            yield part.attr


def _assignment(node: nodes.Assign) -> Iterator[Objection]:
    """Text that is joined to itself doubles with every turn of a loop."""
    own = set(_targets(node.target))
    for part in _parts(node.node):
        sides: Sequence[nodes.Expr] = part.nodes if isinstance(part, nodes.Concat) else ()
        if isinstance(part, nodes.Add):
            sides = (part.left, part.right)
        if sum(getattr(side, "name", getattr(side, "attr", "")) in own for side in sides) > 1:
            yield Objection(node.lineno, "joins a text to itself")


_RULES: Final[Mapping[type[nodes.Node], Callable[[Any], Iterator[Objection]]]] = {
    nodes.Assign: _assignment,
    nodes.Name: _name,
    nodes.Getattr: _attribute,
    nodes.Const: _constant,
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Keyword: _keyword,
    nodes.Mod: _modulo,
    nodes.Mul: _product,
}
