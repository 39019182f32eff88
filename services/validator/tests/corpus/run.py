"""Loads hostile files with the real loaders, each in a process of its own, and says whose payload ran.

    python -m services.validator.tests.corpus.run FOLDER

FOLDER is what `generate.py` has written. Prints the markers that were made, one a line. Only files this test suite has
made itself are ever given to it.
"""

from __future__ import annotations

import contextlib
import json
import logging.config
import os
import pickle
import resource
import signal
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import jinja2
import joblib
import numpy as np
import pandas
import scipy.io
import scipy.stats
import setuptools
import sklearn.datasets
import sklearn.feature_extraction
import sklearn.neighbors
import skops.io
import sqlalchemy.ext.serializer
import yaml

SECONDS = 10
IMPORTED_ONCE = (
    *(pandas, scipy.io, scipy.stats, setuptools, skops.io, sqlalchemy.ext.serializer),
    *(sklearn.datasets, sklearn.feature_extraction, sklearn.neighbors),
)
"""What payloads call: imported before the fork, not after each."""


def _all_pickles(path: Path) -> Any:
    with path.open("rb") as stream:
        while True:
            pickle.load(stream)


def _torch_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                pickle.loads(archive.read(name))


def _npz(path: Path) -> Any:
    with np.load(path, allow_pickle=True) as archive:
        return [archive[name] for name in archive.files]


def _gguf_template(path: Path) -> Any:
    template = gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    return jinja2.Environment(autoescape=False).from_string(template).render(messages=[])


def _yaml(path: Path) -> None:
    """PyYAML with its parser in Python, and with libyaml's, which reads what that refuses."""
    for loader in (yaml.UnsafeLoader, yaml.CUnsafeLoader):
        with contextlib.suppress(Exception):
            list(yaml.load_all(path.read_bytes(), loader))


def _predict(path: Path) -> Any:
    """Loads a transformer, and asks it."""
    return pickle.load(path.open("rb")).transform(np.zeros((3, 2)))


LOADERS: dict[str, Callable[[Path], Any]] = {
    "pickle": lambda path: pickle.load(path.open("rb")),
    "predict": _predict,
    "pickle-python": lambda path: pickle._Unpickler(path.open("rb")).load(),
    "pickle-all": _all_pickles,
    "joblib": joblib.load,
    "numpy": lambda path: np.load(path, allow_pickle=True),
    "npz": _npz,
    "torch-zip": _torch_zip,
    "gguf-template": _gguf_template,
    "yaml": _yaml,
    "jinja": lambda path: jinja2.Environment(autoescape=False).from_string(path.read_text()).render(messages=[]),
    "logging": logging.config.fileConfig,
}
"""What people open such files with."""


def load(path: Path, loader: str) -> None:
    """Load in a forked child that is ended after a while, whatever it does."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.alarm(SECONDS)
        sink = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(sink, descriptor)
        os.chdir(path.parent)
        with contextlib.suppress(BaseException):
            LOADERS[loader](path)
        os._exit(0)
    os.waitpid(child, 0)


def main() -> None:
    """Load every file of the index that has a loader."""
    folder = Path(sys.argv[1])
    entries = [entry for entry in json.loads((folder / "index.json").read_text()) if entry["loader"]]
    for entry in entries:
        load(folder / entry["file"], entry["loader"])
    # At the end, because some payloads run in a process of their own that may outlive its parent by a moment.
    sys.stdout.writelines(f"{entry['marker']}\n" for entry in entries if os.path.lexists(entry["marker"]))


if __name__ == "__main__":
    main()
