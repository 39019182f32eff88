"""Keys of configurations whose values a loader imports, or calls with what stands beside them.

Each framework has its own word for it: hydra `_target_`, Lightning `class_path`, latent diffusion `target` with
`params`, MLflow `loader_module`, `logging.config` `()` and `class`, jsonpickle `py/…`. A value that runs programs is a
program of the file; any other name is code that the file brings into the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats.tensorflow_files import leads_out
from vallum_validator.scan.pickled.values import Grade

_CALLED: Final = ("_target_", "()", "class_path")
"""Keys whose value is called: by hydra, by `logging.config`, by jsonargparse, which reads Lightning's files."""
_PICKLED: Final = frozenset({"py/object", "py/type", "py/function", "py/class", "py/newobj", "py/reduce", "py/repr"})
"""Keys of jsonpickle that import, call or evaluate; the others are plain data. Source: jsonpickle, `tags.py`."""
_DOTTED: Final = later(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_SYSTEM: Final = r"system|popen|startfile|exec[lv]\w*|spawn\w+|posix_spawnp?"
_RUNNERS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("os", "posix", "nt"), _SYSTEM),
    "pty": "spawn",
    "runpy": r"run_\w+",
    "subprocess": "Popen|run|call|check_call|check_output|getoutput|getstatusoutput",
    "builtins": "eval|exec|compile|__import__",
    "importlib": "import_module|__import__",
}
"""What nobody names for the class of anything, by its module."""
_RUNS: Final = later("|".join(rf"{module}\.(?:{names})" for module, names in _RUNNERS.items()))
_CLASS_KEYS: Final = ("type", "class", "cls", "func", "fn", "function", "callable", "factory", "target")
_KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
_REPOSITORY: Final = later(r"(?:\w+\|)?[\w.-]+/[\w.-]+(?:@[\w./-]+)?(?::\w+)?")
_OWN_LIBRARY: Final = later(r"(?:transformers|peft|diffusers|sentence_transformers)(?:\.\w+)*")
_TEMPLATE_FILES: Final = ("template_path", "prefix_path", "suffix_path", "prompt_path", "example_prompt_path")
_EXTERNAL: Final = "ext://"
"""Before a name for which `logging.config` takes what it imports, wherever the value stands."""
_STREAM: Final = later(r"sys\.std(?:in|out|err)")
_OWN_LOGGING: Final = later(r"logging\.(?:handlers\.|config\.)?[A-Z]\w*")
"""Classes of `logging`; by its other names it leads to the modules that it imports: `logging.os.system`."""
WORDS: Final = (
    *(b"_target_", b"class_path", b"loader_module", b"custom_imports", b"attn_implementation", b"constructor"),
    *(b"py/", b"__instance_type__", b"parent_library", b"ext://"),
    *(b"template_path", b"prefix_path", b"suffix_path", b"prompt_path"),
)
KEYS: Final = (
    later(rb"\(\)(?:(?<=[\s'\"\[{,:?\-\x85\xa8\xa9\xbf]\(\))|(?<=\A\(\)))"),
    later(
        rb"\.(?<=[%b]\.)(?=[A-Za-z_])(?:%b)(?=[\s'\",:\]}\xc2\xe2]|\Z)"
        % (
            "".join(sorted({module[-1] for module in _RUNNERS})).encode(),
            "|".join(rf"(?<={module}\.)(?:{names})" for module, names in _RUNNERS.items()).encode(),
        )
    ),
    later(rb"\\/(?:(?<=py\\/)|(?<=ext:\\/))"),
)
TOGETHER: Final = (
    (b"target", b"params"),
    (b"logging.", b"filename"),
    (b"version", b"handlers"),
    (b"version", b"formatters"),
)
"""What text holds, as it is or escaped, if anything here applies to it: any of the first two, or all of a row.

Nothing may be asked of what stands between a key and its value: a tag, an anchor, a comment. What runs programs begins
with its dot and the last letter of its module, which are found sooner than any of the modules.
"""
_JUDGED: Final = frozenset(
    {*_CALLED, *_PICKLED, *_CLASS_KEYS, *_KERNELS, *_TEMPLATE_FILES, "lc", "parent_library", "loader_module",
     "custom_imports", "__instance_type__", "handlers", "formatters", "filename"}
)  # fmt: skip
"""Every key that is asked for below; most nodes have none."""


def inspect_named(node: dict[str, Any], context: Context) -> None:
    """Report what a node of a configuration makes its loader import or call."""
    if _JUDGED.isdisjoint(node):
        return
    for key in _CALLED:
        if isinstance(node.get(key), str):
            inspect_target(node[key], context, key=key)
    for key in _PICKLED & node.keys():
        _pickled(key, node[key], context)
    for key in _CLASS_KEYS:
        value = node.get(key)
        if isinstance(value, str) and _RUNS.fullmatch(value):
            context.report("config.program", f"{key} calls {shown(value)}")
    target = node.get("target")
    if isinstance(target, str) and isinstance(node.get("params"), dict) and _DOTTED.fullmatch(target):
        inspect_target(target, context, key="target")
    for what, value in _imported(node):
        context.report("config.remote-code", f"{what}: {shown(value)}")
    _logging(node, context)
    for key in _TEMPLATE_FILES:
        if isinstance(node.get(key), str) and leads_out(node[key]):
            context.report("config.outside-file", f"{key} is read from {shown(node[key])}")


def inspect_target(target: str, context: Context, offset: int | None = None, *, key: str = _CALLED[0]) -> None:
    """Report what `hydra.utils.instantiate` and its like would call: any callable at all (CVE-2025-23304)."""
    module, _, name = target.removeprefix(_EXTERNAL).rpartition(".")
    denied = allowlist.shipped().grade(module or "builtins", name) is Grade.DENIED
    context.report("config.program" if denied else "config.remote-code", f"{key} calls {shown(target)}", offset)


def inspect_external(value: str, context: Context, *, key: str) -> None:
    """Report what `logging.config` imports for a value, save for its own classes and the streams of the process."""
    name = value.removeprefix(_EXTERNAL)
    if name != value and not _STREAM.fullmatch(name) and not _OWN_LOGGING.fullmatch(name):
        inspect_target(value, context, key=key)


def _logging(node: dict[str, Any], context: Context) -> None:
    """What `logging.config.dictConfig` calls for a `class`, of which filters have none, and where its logs go."""
    for part in ("handlers", "formatters"):
        for entry in node[part].values() if isinstance(node.get(part), dict) and "version" in node else ():
            kind = entry.get("class") if isinstance(entry, dict) else None
            if isinstance(kind, str) and not _OWN_LOGGING.fullmatch(kind.removeprefix(_EXTERNAL)):
                inspect_target(kind, context, key="class")
    log, kind = node.get("filename"), str(node.get("class")).removeprefix(_EXTERNAL)
    if isinstance(log, str) and kind.startswith("logging.") and leads_out(log):
        context.report("config.file", f"a handler of logging writes to {shown(log)}")


def _pickled(key: str, value: Any, context: Context) -> None:
    if key == "py/repr":
        context.report("config.program", f"jsonpickle evaluates {shown(value)}")
    elif isinstance(value, str):
        inspect_target(value, context, key=key)
    else:
        context.report("config.remote-code", f"jsonpickle calls what {key} names")


def _imported(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is imported or built, and how the node says so."""
    if node.get("lc") == 1 and node.get("type") == "constructor":
        yield "a LangChain object is built", node.get("id")
    library = node.get("parent_library")  # PEFT imports it
    if isinstance(library, str) and not _OWN_LIBRARY.fullmatch(library):
        yield "parent_library is imported", library
    loader = node.get("loader_module")
    if isinstance(loader, str) and loader.partition(".")[0] != "mlflow":
        yield "MLflow imports the loader_module", loader
    if isinstance(node.get("custom_imports"), dict):
        yield "custom_imports", node["custom_imports"].get("imports")
    if isinstance(node.get("__instance_type__"), list):
        yield "json_tricks builds an object", node["__instance_type__"]
    for key in _KERNELS:
        for kernel in node[key].values() if isinstance(node.get(key), dict) else [node.get(key)]:
            if isinstance(kernel, str) and _REPOSITORY.fullmatch(kernel):
                yield f"{key} is fetched, and its code run", kernel
