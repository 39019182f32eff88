"""States that say which method of an estimator is called when a model predicts.

A stack of scikit-learn keeps the names of the methods of its estimators, and calls what it finds there: with a path for
an estimator, `unlink` is one that removes a file. Only methods that predict are ever kept so.
"""

from __future__ import annotations

import re
from typing import Any, Final

from vallum_validator.scan.context import shown
from vallum_validator.scan.pickled.arguments import Objection
from vallum_validator.scan.pickled.values import OPAQUE, Container

_BY_NAME: Final = ("sklearn.", "imblearn.")
_NAMES: Final = re.compile(r"_?(chain|predict|response|stack)_method_?\Z")
_ENDS: Final = ("_method", "_method_")
PREDICT: Final = frozenset(
    {"auto", "decision_function", "predict", "predict_log_proba", "predict_proba", "score_samples", "transform"}
)
"""Methods that a model may keep for later: whoever asks it calls them on what it was given."""


def objection_to_method(source: str, named: list[tuple[Any, Any]]) -> Objection | None:
    """Why an instance may not be given attributes that name that method, `None` where they name what predicts."""
    if not source.startswith(_BY_NAME):
        return None
    for key, value in named:
        if isinstance(key, str) and key.endswith(_ENDS) and _NAMES.match(key) and (method := _other(value)) is not None:
            return Objection(f"{source} calls the method {shown(method)} when it predicts", method is not OPAQUE)
    return None


def _other(value: Any) -> Any:
    """The first name that is none of a method which predicts, or what stands in the place of one."""
    if isinstance(value, Container):
        names = [value] if value.cut or value.kind == "dict" else value.contents()
    else:
        names = list(value) if isinstance(value, tuple) else [value]
    return next((name for name in names if name is not None and not (isinstance(name, str) and name in PREDICT)), None)
