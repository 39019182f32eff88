"""What the name of a file promises, held against what its content is. A name never decides how content is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from vallum_validator.scan.context import Context, shown

_TORCH: Final = frozenset({"torch", "torchscript", "torch-legacy", "pickle", "joblib"})
_TEXT: Final = frozenset({"text", "json", "xml", "keras-config", "xgboost", "lightgbm"})
_FAMILIES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".sav", ".dill"), frozenset({"pickle", "joblib"})),
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".ptl"), _TORCH),
    ".bin": _TORCH | {"gguf", "safetensors", "onnx", "tflite", "xgboost", "saved-model", "npy"},
    ".model": _TORCH | {"sentencepiece", "xgboost", "lightgbm", "onnx"},
    ".onnx": frozenset({"onnx"}),
    ".skops": frozenset({"skops"}),
    ".safetensors": frozenset({"safetensors"}),
    ".gguf": frozenset({"gguf"}),
    ".npy": frozenset({"npy"}),
    ".npz": frozenset({"npz"}),
    **dict.fromkeys((".parquet", ".pq"), frozenset({"parquet"})),
    ".keras": frozenset({"keras", "hdf5"}),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), frozenset({"hdf5"})),
    **dict.fromkeys((".tflite", ".lite"), frozenset({"tflite"})),
    ".pb": frozenset({"saved-model", "keras-metadata", "fingerprint", "onnx"}),
    ".ubj": frozenset({"xgboost"}),
    ".cbm": frozenset({"catboost"}),
    **dict.fromkeys((".pmml", ".xml", ".svg"), frozenset({"xml"})),
    ".json": frozenset({"json", "keras-config", "xgboost"}),
    **dict.fromkeys((".jsonl", ".ndjson", ".yaml", ".yml"), frozenset({"text", "json"})),
    **dict.fromkeys((".csv", ".tsv", ".pbtxt", ".jinja", ".j2", ".toml", ".ini", ".cfg"), frozenset({"text", "json"})),
    **dict.fromkeys((".md", ".txt"), _TEXT),
    **dict.fromkeys((".html", ".htm"), _TEXT | {"html"}),
    ".zip": frozenset({"zip", "npz", "skops", "torch", "torchscript", "keras"}),
    ".tar": frozenset({"tar"}),
    **dict.fromkeys((".gz", ".tgz"), frozenset({"gzip", "joblib"})),
    **dict.fromkeys((".bz2", ".tbz2"), frozenset({"bzip2", "joblib"})),
    **dict.fromkeys((".xz", ".txz"), frozenset({"xz", "joblib"})),
    **dict.fromkeys((".zst", ".zstd"), frozenset({"zstd", "joblib"})),
    ".lz4": frozenset({"lz4", "joblib"}),
    ".7z": frozenset({"7z"}),
    ".rar": frozenset({"rar"}),
}
"""What each ending promises. An ending that is not here promises nothing."""
_PROGRAMS: Final = frozenset(
    {".py", ".pyc", ".pyd", ".pyw", ".ipynb", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".js", ".mjs", ".ts",
     ".rb", ".pl", ".lua", ".r", ".php", ".so", ".dll", ".dylib", ".exe", ".jar", ".class", ".whl", ".egg", ".c",
     ".cpp", ".cu", ".go", ".rs", ".java"}
)  # fmt: skip
_INSTALLED: Final = frozenset(
    {"requirements.txt", "setup.cfg", "pyproject.toml", "pipfile", "conda.yaml", "environment.yml", "environment.yaml",
     "python_env.yaml", "dockerfile", "makefile"}
)  # fmt: skip
_NOTHING_FOUND: Final = frozenset({"empty", "unknown", "compressed"})
"""Nothing to compare with; the last stands for a stream that could not be opened."""


def check_extension(name: str, found: str, context: Context) -> None:
    """Report a name that promises another format than was found, or a program."""
    path = PurePosixPath(name.replace("\\", "/").lower())
    promised = _FAMILIES.get(path.suffix)
    if path.suffix in _PROGRAMS or path.name in _INSTALLED:
        context.report("file.program", f"{shown(name)} is the name of a program, or of what installs one")
    elif promised is not None and found not in promised | _NOTHING_FOUND:
        context.report("file.extension", f"{name!r} promises {' or '.join(sorted(promised))}, the content is {found}")
