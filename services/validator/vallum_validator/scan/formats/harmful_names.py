"""Functions that run, load, fetch, write or delete: a configuration that names one is a program under whatever key.

Every framework has a key of its own for what it calls, and no list of keys is complete. What an attack needs is a
function that acts, and of those that every Python or every framework has there are few.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

from vallum_common.errors import Exhausted
from vallum_validator.scan.expressions import later

_WALKED_TO: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("os", "posix", "nt"),
        r"system|popen|startfile|exec[lv]\w*|spawn\w+|posix_spawnp?|fork\w*|_exit|abort|kill|killpg|remove|removedirs|"
        r"unlink|rmdir|rename|renames|replace|truncate|symlink|link|chmod|chown|chroot|putenv|open|fdopen|mkdir|makedirs",
    ),
    "pty": "spawn|fork",
    "runpy": r"_?run_\w+",
    "subprocess": "Popen|run|call|check_call|check_output|getoutput|getstatusoutput",
    **dict.fromkeys(("builtins", "__builtin__"), "eval|exec|execfile|compile|__import__|open|getattr|setattr"),
    "importlib": "import_module|__import__|reload",
    "shutil": r"rmtree|copy\w*|move|chown|\w+_archive",
    **dict.fromkeys(("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal"), "loads?|Unpickler"),
    "ctypes": r"\w+DLL|(?:cdll|windll|oledll|pydll)(?:\.LoadLibrary)?",
}
"""What other modules import, so that a path over them leads there, too: `logging.os.system`."""
_NAMES: Final[Mapping[str, str]] = {
    **_WALKED_TO,
    **dict.fromkeys(("joblib", "joblib.numpy_pickle", "sklearn.externals.joblib", "numpy", "scipy.io"), "load|loadmat"),
    **dict.fromkeys(("torch", "torch.jit", "torch.jit._serialization", "torch.serialization"), "load"),
    **dict.fromkeys(("torch.ops", "torch.classes", "numpy.ctypeslib"), "load_library"),
    **dict.fromkeys(("pandas", "pandas.io.pickle", "pandas.core.computation.eval"), "read_pickle|eval"),
    **dict.fromkeys(("yaml", "ruamel.yaml"), r"load(?:_all)?|(?:unsafe|full)_load(?:_all)?"),
    **dict.fromkeys(("tensorflow", "tf", "tensorflow.io", "tf.io"), (
        "load_library|load_op_library|write_file|read_file")),
    **dict.fromkeys(("urllib.request", "requests", "httpx"), "urlopen|urlretrieve|get|post|put|request|delete"),
    **dict.fromkeys(("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"), (
        r"write_\w+|read_\w+|unlink|touch|rmdir|mkdir|open|rename|replace|chmod|symlink_to|hardlink_to")),
    **dict.fromkeys(("io", "_io", "codecs", "shelve", "dbm", "tarfile"), "open|open_code|FileIO"),
    **dict.fromkeys(("gzip", "bz2", "lzma"), "open"),
    **dict.fromkeys(("cProfile", "profile", "pdb", "bdb", "bdb.Bdb", "trace", "trace.Trace"), r"run\w*"),
    **dict.fromkeys(("distutils.spawn", "setuptools._distutils.spawn"), "spawn"),
    **dict.fromkeys(("distutils.core", "setuptools.sandbox"), "run_setup|setup"),
    "torch.hub": r"load\w*|download_url_to_file|import_module",
    "torch.utils.cpp_extension": r"load\w*",
    "torch.utils.collect_env": r"run\w*|main|get_\w+",
    "torch.utils.bottleneck": r"\w+",
    "torch.utils.model_zoo": "load_url",
    "torch.package": "PackageImporter",
    "numpy.f2py": r"\w+",
    "numpy.testing": "rundocs|runstring|measure",
    "transformers.dynamic_module_utils": r"\w+",
    "mlflow.projects": "run",
    "monai.bundle": "run",
    "sympy": "sympify",
    "sympy.parsing.sympy_parser": "parse_expr",
    "numexpr": "evaluate",
    "jsonpickle": "decode",
    "importlib.machinery": r"\w+Loader",
    "importlib.util": "spec_from_file_location|module_from_spec",
    "zipimport": "zipimporter",
    "imp": r"load_\w+",
    "code": r"interact|InteractiveInterpreter(?:\.\w+)?|InteractiveConsole(?:\.\w+)?",
    "commands": "getoutput|getstatusoutput",
    "_posixsubprocess": "fork_exec",
    "webbrowser": r"open\w*|get",
    "antigravity": r"\w+",
    "socket": "socket|create_connection|create_server",
    "timeit": "timeit|repeat|Timer|main",
    "asyncio": r"create_subprocess_\w+",
    "asyncio.subprocess": r"create_subprocess_\w+",
    "multiprocessing": "Process",
    "multiprocessing.util": r"spawnv_passfds",
    "operator": "methodcaller|attrgetter",
    "types": "FunctionType|CodeType",
    "pydoc": "locate|pipepager|tempfilepager",
    "pkgutil": "resolve_name",
    "pip": r"main|_internal\.\w+(?:\.\w+)*",
    "ensurepip": "bootstrap",
    "logging.config": r"fileConfig|dictConfig|listen",
    "sqlite3": "connect",
    "zipfile": "ZipFile",
}  # fmt: skip
"""By the module, or the class, that they are in."""


def _alternatives(names: Mapping[str, str]) -> str:
    return "|".join(rf"{module.replace('.', '[.]')}[.:](?:{found})" for module, found in names.items())


_HARMFUL: Final = later(
    rf"(?:ext://)?(?:(?:[^\W\d]\w*[.])*_?(?:{_alternatives(_WALKED_TO)})|{_alternatives(_NAMES)})(?:[.]__\w+__)*"
)
_MAX_NAME: Final = 200


def _signs(mark: str) -> bytes:
    """What looks like such a name with that mark before the function: begun with it, then the last letter of its
    module, which are found sooner than any of the modules."""
    by_letter: dict[str, list[str]] = {}
    for module, found in _NAMES.items():
        named = rf"(?<={module.replace('.', '[.]')}{mark})(?:{found})"
        by_letter.setdefault(module[-1], []).append(named)
    letters = "".join(sorted(by_letter))
    named = "|".join(rf"(?<={letter}{mark})(?:{'|'.join(names)})" for letter, names in by_letter.items())
    return rf"{mark}(?<=[{letters}]{mark})(?=[A-Za-z_])(?:{named})".encode() + rb"(?=[\s'\",:()\]}\xc2\xe2]|\.__|\Z)"


SIGNS: Final = (
    later(_signs(r"\.")),
    later(_signs(":")),
    later(rb"\$(?<=[\s'\"]\$)(?:[\w@.\[\]#:]{0,200}+\(|import\s|from\s)"),
    later(rb"\((?:(?<=\bopen\()|(?<=\bsystem\()|(?<=\bpopen\()|(?<=etattr\()|(?<=\bvars\()|(?<=\bglobals\())"),
    *map(
        later,
        (
            rb"__(?:import|class|subclasses|globals|builtins|base|mro|getattribute|loader|reduce|code|self|func)",
            rb"\.f_(?:back|builtins|globals|locals)",
            rb"open(?=\s*+[)\]}])",
            rb"[\[({]\s*+open(?=\s*+,)",
            rb"etattr(?=\s*+[,)\]}])",
            rb"eval(?=\s*+[,()\]])",
            rb"exec(?=\s*+[,()\]])",
        ),
    ),
)
"""How text looks that may hold such a name, or an expression with one, as a value."""
_CALLED: Final = frozenset({"open", "getattr", "setattr", "globals", "vars"})
_PASSED_ON: Final = _CALLED - {"open"}
"""Whoever hands one of these on has it called; `open` is a column of prices, too."""
_CALL_LATER: Final = frozenset({"map", "filter", "reduce", "partial", "starmap"})
_NAMED: Final = frozenset({"__import__", "eval", "exec", "compile", "__builtins__", "breakpoint"})
_ACTS: Final = frozenset({"system", "popen", "Popen", "check_output", "check_call", "getoutput", "import_module"})
_HARMLESS_INTERNALS: Final = frozenset({"__name__", "__version__", "__doc__", "__len__", "__file__"})
_INTERNALS: Final = later(r"__\w+__|(?:gi|cr|ag|tb)_frame|f_(?:back|builtins|globals|locals)|func_globals")
"""By which an expression comes to functions that it does not name."""
_EXPRESSION: Final = later(r"\b(?:__import__|eval|exec|compile|open|[sg]etattr|globals|vars|breakpoint)\b|__|\w\.\w")
_TAKEN: Final = later(r"\$from\s+([\w.]+)\s+import\s+([\w\s,]+)")
_IMPORT: Final = later(r"\$(?:import\s+\w|from\s+[\w.]+\s+import\s)")
_MAX_EXPRESSION: Final = 256 * 1024
_BLANKS: Final = later(r"[ \t\f]{2,}|\s*\n\s*\n")
_PROSE: Final = later(r"\s*(?!(?:lambda|not|await)\b)[A-Za-z]+,? (?!(?:if|for|in|is|and|or|not)\b)[A-Za-z]+\b")
"""No expression begins with two words."""
_REFERENCE: Final = later(r"@[\w#:.]+")
"""How an expression of MONAI names another part of the configuration."""


def is_harmful(name: str) -> bool:
    """Whether a value is nothing but the name of a function that acts, as `a.b` or `a:b`."""
    return len(name) <= _MAX_NAME and _HARMFUL.fullmatch(name) is not None


def evaluates(text: str) -> bool:
    """Whether a value is a Python expression that acts: MONAI evaluates what follows `$`, YOLO what a layer is called.

    A text for people may name such a call, but is not an expression from its first character to its last.

    Raises:
        Exhausted: it may be one, and is too long to be read.
    """
    taken = _TAKEN.match(text)
    if taken and any(is_harmful(f"{taken[1]}.{name.split()[0]}") for name in taken[2].split(",") if name.strip()):
        return True
    if "(" not in text or not _EXPRESSION.search(text):
        return False
    if len(text) > _MAX_EXPRESSION:
        text = _BLANKS.sub(lambda found: "\n" if "\n" in found[0] else " ", text.strip())
        if len(text) > _MAX_EXPRESSION and not _PROSE.match(text):
            raise Exhausted(f"a text of more than {_MAX_EXPRESSION} characters may be an expression of Python")
    tree = _parsed(text)
    return tree is not None and any(_acts(node) for node in ast.walk(tree))


def is_code(text: str) -> bool:
    """Whether a value is, to MONAI, an import or an expression that calls something: what it calls was imported."""
    if not text.startswith("$"):
        return False
    if len(text) > _MAX_EXPRESSION or _IMPORT.match(text):
        return True
    tree = _parsed(text) if "(" in text or "." in text else None
    return tree is not None and any(isinstance(node, ast.Call | ast.Attribute) for node in ast.walk(tree))


def _parsed(text: str) -> ast.AST | None:
    """The syntax tree of a value that is one expression; a `$` in front of it and references do not count."""
    plain = _REFERENCE.sub("_", text[1:]) if text.startswith("$") else text
    try:
        with warnings.catch_warnings():  # of odd escapes, on the standard error
            warnings.simplefilter("ignore")
            return ast.parse(plain.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _acts(node: ast.AST) -> bool:
    """Whether a part of an expression calls or passes on what acts, or goes through the insides of Python."""
    match node:
        case ast.Name(id=name):
            return name in _NAMED or name in _PASSED_ON
        case ast.Attribute(attr=name):
            inside = _INTERNALS.fullmatch(name) is not None and name not in _HARMLESS_INTERNALS
            return inside or name in _ACTS or is_harmful(".".join(_path(node)))
        case ast.Call(func=ast.Name(id=name), args=args):
            return name in _CALLED or (name in _CALL_LATER and any(_names_called(each) for each in args))
        case ast.Call(func=ast.Attribute()):
            return False
        case ast.Call(func=func):  # `[open][0](…)`
            return any(map(_names_called, ast.walk(func)))
    return False


def _names_called(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in _CALLED


def _path(node: ast.expr) -> Iterator[str]:
    """The names of a dotted expression, as far as it is one."""
    if isinstance(node, ast.Attribute):
        yield from _path(node.value)
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id
