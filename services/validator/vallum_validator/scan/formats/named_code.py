"""Keys of configurations whose values a loader imports, or calls with what stands beside them.

Each framework has its own word for it: hydra `_target_`, Lightning `class_path`, latent diffusion `target` with
`params`, MLflow `loader_module`, `logging.config` `()` and `class`, jsonpickle `py/…`. A value that runs programs is a
program of the file; any other name is code that the file brings into the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vallum_validator.scan import allowlist
from vallum_validator.scan.context import Context, shown
from vallum_validator.scan.expressions import later
from vallum_validator.scan.formats import framework_keys, harmful_names
from vallum_validator.scan.formats.tensorflow_files import leads_out
from vallum_validator.scan.pickled.values import Grade

_PICKLED: Final = frozenset({"py/object", "py/type", "py/function", "py/class", "py/newobj", "py/reduce", "py/repr"})
"""Keys of jsonpickle that import, call or evaluate; the others are plain data. Source: jsonpickle, `tags.py`."""
_KERNELS: Final = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
_REPOSITORY: Final = later(r"(?:\w+\|)?[\w.-]+/[\w.-]+(?:@[\w./-]+)?(?::\w+)?")
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
    *framework_keys.WORDS,
)
KEYS: Final = (
    later(rb"\(\)(?:(?<=[\s'\"\[{,:?\-\x85\xa8\xa9\xbf]\(\))|(?<=\A\(\)))"),
    *framework_keys.SIGNS,
    *harmful_names.SIGNS,
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


def inspect_named(node: dict[str, Any], context: Context) -> None:
    """Report what a node of a configuration makes its loader import or call."""
    for key, value in node.items():
        # Under numbers stand the words of a vocabulary.
        if isinstance(value, str) and harmful_names.is_harmful(value) and not key.isdigit():
            context.report("config.program", f"{key} calls {shown(value)}")
    for key, target in framework_keys.called(node):
        inspect_target(target, context, key=key)
    for key in _PICKLED & node.keys():
        _pickled(key, node[key], context)
    for what, value in (*framework_keys.imported(node), *_kernels(node)):
        context.report("config.remote-code", f"{what}: {shown(value)}")
    for what, place in framework_keys.outside(node):
        if leads_out(place):
            context.report("config.outside-file", f"{what} names {shown(place)}")
    _logging(node, context)
    for key in _TEMPLATE_FILES:
        if isinstance(node.get(key), str) and leads_out(node[key]):
            context.report("config.outside-file", f"{key} is read from {shown(node[key])}")


def inspect_target(target: str, context: Context, offset: int | None = None, *, key: str = "_target_") -> None:
    """Report what `hydra.utils.instantiate` and its like would call: any callable at all (CVE-2025-23304)."""
    module, _, name = target.removeprefix(_EXTERNAL).rpartition(".")
    denied = allowlist.shipped().grade(module or "builtins", name) is Grade.DENIED or harmful_names.is_harmful(target)
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


def _kernels(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What transformers fetches and runs for the layers of a model."""
    for key in _KERNELS:
        for kernel in node[key].values() if isinstance(node.get(key), dict) else [node.get(key)]:
            if isinstance(kernel, str) and _REPOSITORY.fullmatch(kernel):
                yield f"{key} is fetched, and its code run", kernel
