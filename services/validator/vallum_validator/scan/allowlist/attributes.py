"""Which functions give out, call or set an attribute whose name they are given.

`numpy._core.fromnumeric._wrapfunc(obj, method, …)` calls whatever method it is told to, and so does all that hands a
name of its own on to it. A model that keeps such a function calls any method of anything when it predicts: with
`operator.itemgetter` and `functools.partial` beside it, that is the way from an array to `os.system`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from vallum_validator.scan.allowlist.syntax import Dotted, Function, Package, dotted, imports_in

_TAKE_NAME: Final = {"getattr": 1, "setattr": 1, "delattr": 1, "__getattribute__": -1, "__getattr__": -1,
                     "getattr_static": 1, "attrgetter": 0, "methodcaller": 0}  # fmt: skip
"""What takes an attribute by name, and where among the arguments the name is."""
_NAMESPACES: Final = frozenset({"globals", "locals", "vars"})
_LATER: Final = frozenset({"delayed", "partial"})
"""What takes a function for a later call: `delayed(f)(name)`, `partial(f, name)`."""

Key = tuple[str, str]
_Handed = defaultdict[tuple[Key, str], set[tuple[Key, str]]]
_Origins = dict[str, frozenset[str]]


class Attributes:
    """Answers about one wheel.

    Args:
        package: its syntax trees.
    """

    def __init__(self, package: Package) -> None:
        self._package = package
        self._named: defaultdict[Key, set[str]] = defaultdict(set)
        self._given: dict[Key, list[str]] = {}
        handed: _Handed = defaultdict(set)
        for module in package.modules.values():
            for name, bodies in module.functions.items():
                for body in bodies:
                    self._given.setdefault((module.name, name), _parameters(body))
        for module in package.modules.values():
            for name, bodies in module.functions.items():
                for body in bodies:
                    self._read((module.name, name), body, package=module.package, handed=handed)
        pending = [(key, name) for key, names in self._named.items() for name in names]
        while pending:
            for caller, origin in handed.pop(pending.pop(), ()):
                if origin not in self._named[caller]:
                    self._named[caller].add(origin)
                    pending.append((caller, origin))

    def takes_name(self, module: str, name: str) -> bool:
        """Whether the function takes an attribute, of anything, by a name that it is given."""
        return bool(self._named.get((module, name)))

    def _read(self, key: Key, body: Function, *, package: str, handed: _Handed) -> None:
        nodes = list(ast.walk(body))
        origins = _origins(body, nodes)
        imports = dict(imports_in(nodes, package))
        for node in nodes:
            for name in _names_taken(node):
                self._named[key] |= _of(name, origins)
            if isinstance(node, ast.Call):
                for chain, arguments, keywords in _calls(node):
                    called = self._called(key[0], chain, imports)
                    for parameter, value in _bound(self._given.get(called, []), arguments, keywords):
                        handed[called, parameter] |= {(key, origin) for origin in _of(value, origins)}

    def _called(self, module: str, chain: Dotted, imports: dict[str, tuple[str, str]]) -> Key:
        here = imports.get(chain[0])
        place = self._package.imported(*here, chain[1:]) if here else self._package.resolve(module, chain)
        return (place.module, place.name) if place.kind == "function" else ("", "")


def _parameters(body: Function) -> list[str]:
    return [node.arg for node in (*body.args.posonlyargs, *body.args.args, *body.args.kwonlyargs)]


def _origins(body: Function, nodes: list[ast.AST]) -> _Origins:
    """From which parameters the value of each local name comes."""
    given = [*_parameters(body), *(extra.arg for extra in (body.args.vararg, body.args.kwarg) if extra is not None)]
    origins: _Origins = {name: frozenset({name}) for name in given}
    for _ in range(3):
        for node in nodes:
            match node:
                case ast.Assign(targets=targets, value=value):
                    pass
                case (
                    ast.NamedExpr(target=target, value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    targets = [target]
                case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                    targets = [target]
                case _:
                    continue
            found = _of(value, origins)
            for target in targets:
                for part in ast.walk(target):
                    if found and isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                        origins[part.id] = origins.get(part.id, frozenset()) | found
    return origins


def _of(value: ast.AST, origins: _Origins) -> frozenset[str]:
    """The parameters that a value is made of. A text that is only in part what somebody says is a name of the author's
    choice: `'to' + format`. What a call gives is no name that was handed in."""
    match value:
        case ast.Name(id=name):
            return origins.get(name, frozenset())
        case ast.JoinedStr() | ast.BinOp() | ast.Compare() | ast.Lambda():
            return frozenset()
        case ast.Call(func=ast.Attribute(value=inner)):
            return _of(inner, origins)
        case ast.Call(func=ast.Name(id="str" | "zip" | "enumerate" | "list" | "tuple" | "sorted" | "set"), args=args):
            return frozenset().union(*(_of(part, origins) for part in args))
        case ast.Call():
            return frozenset()
    return frozenset().union(*(_of(part, origins) for part in ast.iter_child_nodes(value)))


def _names_taken(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=func, args=args):
            chain = dotted(func)
            place = _TAKE_NAME.get(chain[-1]) if chain else None
            if place is not None and args and len(args) > max(place, 0):
                yield args[place]
            if place is None and isinstance(func, ast.Attribute) and func.attr in _TAKE_NAME and args:
                yield args[-1]
        case ast.Subscript(value=ast.Call(func=ast.Name(id=name)), slice=key) if name in _NAMESPACES:
            yield key
        case ast.Subscript(value=ast.Attribute(attr="__dict__"), slice=key):
            yield key


def _calls(node: ast.Call) -> Iterator[tuple[Dotted, list[ast.expr], list[ast.keyword]]]:
    """What is called with which arguments, now or later."""
    chain = dotted(node.func)
    made = node.func if isinstance(node.func, ast.Call) else node
    if chain:
        yield chain, node.args, node.keywords
    if (dotted(made.func) or ("",))[-1] in _LATER and made.args and (later := dotted(made.args[0])):
        yield later, node.args[1:] if made is node else node.args, node.keywords


def _bound(given: list[str], arguments: list[ast.expr], keywords: list[ast.keyword]) -> Iterator[tuple[str, ast.expr]]:
    """Which parameter gets which value; what is spread may go to any that is left."""
    left = list(given)
    for argument in arguments:
        if isinstance(argument, ast.Starred):
            yield from ((name, argument.value) for name in left)
            break
        if left:
            yield left.pop(0), argument
    for keyword in keywords:
        if keyword.arg in left:
            left.remove(keyword.arg)
            yield keyword.arg, keyword.value
    yield from ((name, keyword.value) for keyword in keywords if keyword.arg is None for name in left)
