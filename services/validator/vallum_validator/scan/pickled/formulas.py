"""Formulas of statistical models, which are programs: `statsmodels` evaluates the one in a state while it is restored.

`y ~ C(region) + np.log(size)` is cut into pieces by patsy or formulaic, and each piece is evaluated as Python. So the
pieces may be names, numbers, arithmetic, and calls of the functions that these libraries and numpy have for a formula.
"""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.arguments import Objection
from vallum_validator.scan.pickled.values import Container

_EVALUATES: Final = "statsmodels."
_RESTORES: Final = frozenset({"restore_design_info", "restore_model_spec"})
"""What has `ModelData.__setstate__` evaluate the formula: before statsmodels 0.15 the one, since then the other."""
_PROGRAM: Final = re.compile(r"(?!restore_)\w*(formula|design_info|model_spec)")
"""Attributes that are evaluated: the formula while loading, what was made of it by `predict`, which takes a text, too.
Honest states leave the latter out, because patsy's own cannot be pickled."""
_MAX_FORMULA: Final = 16 * 1024
_QUOTED: Final = re.compile(r"`[^`\n]*`")
_FUNCTIONS: Final = frozenset(
    {"C", "Diff", "Helmert", "I", "Poly", "Q", "Sum", "Treatment", "bs", "cc", "center", "cr", "scale", "standardize",
     "te", "abs", "exp", "log", "log10", "log1p", "log2", "sqrt"}
)  # fmt: skip
_NUMPY: Final = frozenset(
    {"abs", "absolute", "arctan", "cos", "cosh", "cbrt", "exp", "expm1", "float64", "log", "log10", "log1p", "log2",
     "maximum", "minimum", "power", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "where"}
)  # fmt: skip
_BUILT_IN: Final = frozenset(
    {"breakpoint", "compile", "eval", "exec", "getattr", "globals", "input", "locals", "open", "setattr", "vars"}
)
_PLAIN: Final = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop, ast.Load),
    *(ast.Name, ast.Constant, ast.List, ast.Tuple, ast.keyword),
)


def objection_to_formula(source: str, named: list[tuple[Any, Any]]) -> Objection | None:
    """Why an instance may not be given those attributes, `None` where there is no formula or it only computes."""
    if not source.startswith(_EVALUATES) and not any(type(key) is str and key in _RESTORES for key, _ in named):
        return None
    programs = (value for key, value in named if isinstance(key, str) and _PROGRAM.match(key))
    formulas = (formula for value in programs for formula in _formulas(value))
    return next(filter(None, (_worst(source, formula) for formula in formulas)), None)


def _formulas(value: Any) -> list[Any]:
    """One, or those in a list or by column in a dict; a number says how many there are, or whether."""
    values = list(value) if isinstance(value, tuple) else [value]
    if isinstance(value, Container) and not value.cut:
        values = value.contents()[1::2] if value.kind == "dict" else value.contents()
    return [part for part in values if not (part is None or isinstance(part, int | float))]


def _worst(source: str, formula: Any) -> Objection | None:
    if not isinstance(formula, str) or len(formula) > _MAX_FORMULA or "#" in formula:
        return Objection(f"{source} evaluates the formula {shown(formula)}")
    try:
        sides = [_parsed(side.strip()) for side in _QUOTED.sub("q", formula).split("~") if side.strip()]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Objection(f"{source} evaluates the formula {shown(formula)}, which is no plain one")
    objections = [found for side in sides for node in ast.walk(side) if (found := _objection(node)) is not None]
    worst = max(objections, key=lambda found: found.malicious, default=None)
    return Objection(f"{source} evaluates {shown(formula)}, which {worst.reason}", worst.malicious) if worst else None


def _parsed(side: str) -> ast.Expression:
    """One side of a formula as Python; `a:b` is how formulas write an interaction, and no Python."""
    try:
        return ast.parse(side, mode="eval")
    except SyntaxError:
        return ast.parse(side.replace(":", "*"), mode="eval")


def _objection(node: ast.AST) -> Objection | None:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            return None
        case ast.Call(func=ast.Name(id=name)):
            return Objection(f"calls {name!r}", malicious=name in _BUILT_IN or name.startswith("__"))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy"))):
            return None  # the attribute is judged by itself
        case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if name in _NUMPY:
            return None
        case ast.Name(id=name):
            return Objection(f"names {name!r}", malicious=True) if name.startswith("__") else None
        case _ if isinstance(node, _PLAIN):
            return None
    return Objection(f"is more than a formula: {shown(ast.unparse(node))}", malicious=True)
