"""The allow-lists as they are published, how they are generated, and what must never be on one."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vallum_common.errors import Invalid
from vallum_validator.domain.findings import ScanVerdict
from vallum_validator.scan import allowlist, rules_digest, scan_file
from vallum_validator.scan.allowlist.listing import merge
from vallum_validator.scan.allowlist.release import INDEX, RELEASE_KEYS, SHIPPED, SIGNATURE, Release, sign
from vallum_validator.scan.allowlist.wheels import Graded, grade_wheel
from vallum_validator.scan.pickled.values import Grade

DANGEROUS = Path(__file__).parent / "corpus" / "dangerous_names.txt"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    shutil.copytree(SHIPPED, folder)
    return folder


@pytest.fixture
def fresh() -> Iterator[None]:
    """Lists are read once in a process; here each test reads them anew."""
    yield
    allowlist.release.cache_clear()
    allowlist.shipped.cache_clear()


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(allowlist.FOLDER_VARIABLE, str(folder))
    allowlist.release.cache_clear()
    allowlist.shipped.cache_clear()


def test_shipped_lists_are_signed_by_a_pinned_key_and_every_file_is_in_the_index() -> None:
    assert RELEASE_KEYS
    found = Release(SHIPPED, keys=RELEASE_KEYS)
    assert {"numpy", "scipy", "sklearn", "pandas", "joblib", "torch", "xgboost", "lightgbm"} <= set(found.packages())
    index = json.loads((SHIPPED / INDEX).read_bytes())
    assert set(index["files"]) == {path.name for path in SHIPPED.glob("*.json")} - {INDEX}
    for package in found.packages():
        listing = found.listing(package)
        assert listing is not None
        assert set(index["files"][f"{package}.json"]["wheels"]) == set(listing["versions"])


def test_lists_from_a_folder_are_used_when_a_release_key_signed_them(
    published: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    before = rules_digest()
    key = Ed25519PrivateKey.generate()
    index = json.loads((published / INDEX).read_bytes()) | {"version": "2099-01-01"}
    (published / INDEX).write_text(json.dumps(index))
    (published / SIGNATURE).write_text(sign((published / INDEX).read_bytes(), key.private_bytes_raw()))
    monkeypatch.setattr(allowlist, "RELEASE_KEYS", (key.public_key().public_bytes_raw().hex(),))
    use(published, monkeypatch)
    assert allowlist.version() == "2099-01-01"
    assert rules_digest() != before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (SIGNATURE, "00" * 64, "signed by none of the"),
        (SIGNATURE, "no hex", "hexadecimal"),
        (SIGNATURE, None, "cannot read"),
        (INDEX, "{}", "signed by none of the"),
        (INDEX, None, "cannot read"),
    ],
)
def test_lists_from_a_folder_without_a_valid_signature_are_refused(
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh: None,
    file: str,
    content: str | None,
    message: str,
) -> None:
    (published / file).unlink() if content is None else (published / file).write_text(content)
    use(published, monkeypatch)
    with pytest.raises(Invalid, match=message):
        rules_digest()
    harmless = published / "table.csv"
    harmless.write_text("a,b\n1,2\n")
    report = scan_file(harmless)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert "scan.lists-invalid" in {finding.rule for finding in report.findings}


def test_nothing_that_needs_a_changed_list_is_clean_and_the_report_names_it(
    published: Path, monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path
) -> None:
    listing = json.loads((published / "sklearn.json").read_bytes())
    listing["callable"]["sklearn.datasets._base"] = {"1.0+": "load_files"}
    (published / "sklearn.json").write_text(json.dumps(listing))
    use(published, monkeypatch)
    model, other = tmp_path / "model.pkl", tmp_path / "other.pkl"
    model.write_bytes(b"\x80\x02csklearn.linear_model._base\nLinearRegression\n)\x81.")
    other.write_bytes(b"\x80\x02cnumpy\ndtype\n.")
    report = scan_file(model)
    assert report.verdict is ScanVerdict.UNKNOWN
    assert any("sklearn.json" in finding.message for finding in report.findings)
    assert scan_file(other).verdict is ScanVerdict.CLEAN, "a list that is not asked for is not read"


def names() -> list[str]:
    return DANGEROUS.read_text().split()


def test_no_list_vouches_for_what_runs_code_or_opens_files() -> None:
    lists = allowlist.shipped()
    assert len(names()) >= 150
    assert {
        name: grade
        for name in names()
        if (grade := lists.grade(*name.split(":"))) in (Grade.CLASS, Grade.CALLABLE, Grade.REFERENCE)
    } == {}


def test_a_call_of_what_runs_code_or_opens_files_is_malicious_whatever_it_is_given(tmp_path: Path) -> None:
    verdicts = {}
    for index, name in enumerate(names()):
        module, _, attribute = name.partition(":")
        file = tmp_path / f"{index}.pkl"
        file.write_bytes(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"(K\x01tR.")
        verdicts[name] = scan_file(file).verdict
    assert {name: verdict for name, verdict in verdicts.items() if verdict is not ScanVerdict.MALICIOUS} == {}


SOURCE = """
import enum
import os
from collections import namedtuple

from .inner import Passed, run_it, helper as renamed

Pair = namedtuple("Pair", "a b")

class Plain:
    def fit(self):
        os.system("x")

class Restores:
    def __setstate__(self, state):
        self.__dict__.update(state)
        self._attach()
    def _attach(self):
        renamed(self.template)

class Heir(Restores):
    pass

class Collected:
    def __del__(self):
        self.close()

class Setter:
    @property
    def value(self):
        return 1
    @value.setter
    def value(self, new):
        os.remove(new)

class CallsState:
    def __setstate__(self, state):
        self.callback(state)

class CallsOwn:
    def __setstate__(self, state):
        self._check()
    def _check(self):
        return None

class Foreign(elsewhere.Base):
    pass

class Kept(dict):
    pass

class Overridden(dict):
    def __setitem__(self, key, value):
        key(value)

class Colour(enum.Enum):
    RED = 1

def harmless(x):
    return [x]

def far(x):
    return renamed(x)

def load_it(x):
    return x

def chained(x):
    return elsewhere.Unpickler(x).load()
"""
INNER = """
class Passed:
    pass

def helper(x):
    return deeper(x)

def deeper(x):
    exec(x)

def run_it(x):
    return x
"""


def wheel(folder: Path, version: str = "1.0", **modules: str) -> Path:
    path = folder / f"made-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in modules.items():
            archive.writestr(f"made/{name}.py", source)
    return path


def grade_of(graded: Graded, name: str, module: str = "made") -> Grade | None:
    return graded.grades.get((module, name))


def test_generator_follows_calls_to_the_harm_they_reach(tmp_path: Path) -> None:
    graded = grade_wheel(wheel(tmp_path, __init__=SOURCE, inner=INNER), "made", lambda *_: False)
    listed = {name for (module, name), grade in graded.grades.items() if module == "made" and grade >= Grade.CLASS}
    assert listed == {"Plain", "CallsOwn", "Kept", "Overridden", "Colour", "Pair", "Passed"}
    assert grade_of(graded, "Colour") is Grade.CALLABLE
    assert grade_of(graded, "harmless") is Grade.REFERENCE
    for refused in ("Restores", "Heir", "Collected", "Setter", "CallsState", "Foreign", "far", "load_it", "chained"):
        assert grade_of(graded, refused) is Grade.UNLISTED, refused
    assert grade_of(graded, "renamed") is None
    assert graded.hooks == {"_check"}
    assert graded.stores == {("made", "Kept")}


NAMING = """
from functools import partial
from operator import attrgetter
from .inner import delayed, prefixed

def calls(obj, method, *args, **kwargs):
    return getattr(obj, method)(*args, **kwargs)

def fixed(x, **kwargs):
    return calls(x, "clip", **kwargs)

def hands_on(x, how):
    return calls(x, method=how)

def spreads(x, *rest):
    return calls(x, *rest)

def later(x, how):
    return delayed(calls)(x, how)

def kept(x, how):
    return partial(calls, x, how)

def loops(obj, settings):
    for key, value in settings.items():
        setattr(obj, key, value)

def looks_up(x, name):
    return vars(x)[name]

def gets(name):
    return attrgetter(name)

def own_prefix(x, kind):
    return getattr(x, "to" + kind), getattr(x, f"as_{kind}")

def imported(x, how):
    return prefixed(x, how)

def _of_its_own(x):
    return x

def _passthrough_scorer(x):
    return x
"""
NAMES_A_METHOD = ("calls", "hands_on", "spreads", "later", "kept", "loops", "looks_up", "gets", "imported")


def test_function_that_takes_an_attribute_by_a_name_it_is_given_is_on_no_list(tmp_path: Path) -> None:
    inner = "def prefixed(x, name):\n    return getattr(x, name)\n"
    graded = grade_wheel(wheel(tmp_path, __init__=NAMING, inner=inner), "made", lambda *_: False)
    assert {name: grade_of(graded, name) for name in NAMES_A_METHOD} == dict.fromkeys(NAMES_A_METHOD, Grade.UNLISTED)
    assert grade_of(graded, "fixed") is grade_of(graded, "own_prefix") is Grade.REFERENCE


def test_function_of_a_library_s_own_is_listed_only_where_models_are_known_to_keep_it(tmp_path: Path) -> None:
    graded = grade_wheel(wheel(tmp_path, __init__=NAMING), "made", lambda *_: False)
    assert grade_of(graded, "_of_its_own") is Grade.UNLISTED
    assert grade_of(graded, "_passthrough_scorer") is Grade.REFERENCE


HOOKED = """
class Optimizer:
    def __setstate__(self, state):
        self.__dict__.update(state)
        self._patch()
    def _patch(self):
        self.profile_hook_step(1)
    def profile_hook_step(self, func):
        func()
"""


def test_a_method_that_was_read_and_excused_is_none_that_a_state_may_replace(tmp_path: Path) -> None:
    path = tmp_path / "torch-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("torch/optim/optimizer.py", HOOKED)
    graded = grade_wheel(path, "torch", lambda *_: False)
    assert grade_of(graded, "Optimizer", "torch.optim.optimizer") is Grade.CLASS
    assert graded.hooks == {"_patch", "profile_hook_step"}
    assert {"_patch_step_function", "profile_hook_step", "_hook_for_profile"} <= allowlist.shipped().hooks


def test_nothing_is_stored_in_what_stores_it_in_something_else() -> None:
    lists = allowlist.shipped()
    assert lists.stores("collections", "OrderedDict")
    assert not any(lists.stores("collections", name) for name in ("ChainMap", "UserDict", "UserList"))


def test_a_name_has_the_lowest_grade_of_all_versions_and_says_which_have_it(tmp_path: Path) -> None:
    sources = {
        "1.9": "class A: pass\nclass Old: pass\nclass Turned: pass",
        "1.10": "class A: pass\nclass New: pass\nclass Turned:\n def __setstate__(self, s): eval(s)",
    }
    graded = {v: grade_wheel(wheel(tmp_path, v, __init__=s), "made", lambda *_: False) for v, s in sources.items()}
    listing = merge("made", "made", graded)
    assert listing["versions"] == ["1.9", "1.10"]
    assert listing["class"] == {"made": {"1.9+": "A", "1.9-1.9": "Old", "1.10+": "New"}}


SCALER = b"\x80\x02csklearn.preprocessing._data\nStandardScaler\n)\x81"


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("append", SCALER + b"}U\x06appendcmath\nsqrt\nsbU\x01xa.", "real number"),
        ("setstate", SCALER + b"}U\x0c__setstate__cmath\nsqrt\nsbU\x01xb.", "real number"),
        ("partial", b"\x80\x02cfunctools\npartial\ncbuiltins\ngetattr\n\x85R.", ""),
        (
            "partial by its state",
            b"\x80\x02cfunctools\npartial\ncmath\nsqrt\n\x85R(cbuiltins\ngetattr\n)}NtU\0.".replace(b"U\0", b"b"),
            "",
        ),
    ],
)
def test_a_state_that_hides_a_method_is_malicious(name: str, data: bytes, error: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(data)
    assert scan_file(file).verdict is ScanVerdict.MALICIOUS
    if error:  # the real unpickler calls what the state holds
        with pytest.raises(TypeError, match=error):
            pickle.loads(data)
    else:
        assert pickle.loads(data) is not None
