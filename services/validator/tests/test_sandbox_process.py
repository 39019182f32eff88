"""A prediction survives every misbehaviour of its worker, and none is taken for an answer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vallum_common.errors import Unavailable
from vallum_validator.domain.evidence import Isolation
from vallum_validator.sandbox.child import Limits
from vallum_validator.sandbox.isolation import check_held
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker, WorkerFailed, WorkerRefused
from vallum_validator.table import PredictionFailed, Predictions, Table

from .models.bundles import manifest_of
from .models.hostile import write_model

ROWS = Table({"a": np.arange(6, dtype=np.float64)})
NARROW = Limits(memory_bytes=512 * 1024**2)
IMPATIENT = Limits(load_s=1.0, call_s=1.0)
"""Only for models that would never answer: an honest one may be slower on a busy machine."""

FIND_PIPE = """
import os, stat, struct, time
def pipe():
    numbers = [n for n in range(3, 64) if is_pipe(n)]
    return max(numbers)
def is_pipe(number):
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False
"""


def limits_for(code: str) -> Limits:
    return IMPATIENT if "sleep(" in code or "while True: pass" in code else NARROW


def ask(tmp_path: Path, body: str, *, members: str = "") -> Predictions:
    """Load a model with this `predict` and ask it the same rows twice."""
    path = write_model(tmp_path / "model.pickle", body, members=members)
    with Worker("the model", [path], limits=limits_for(body)) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        try:
            return predictor.probe(ROWS)
        except PredictionFailed as failure:
            # Whatever it did, it is never asked again and the reason stays.
            if predictor.failure:
                with pytest.raises(PredictionFailed) as again:
                    predictor.predict(ROWS)
                assert again.value.message == predictor.failure
            raise failure


WHILE_LOADING: Mapping[str, tuple[str, str]] = {
    "crashes": ("import ctypes; ctypes.string_at(0)", r"crashed \(SIGSEGV\)"),
    "aborts": ("import os; os.abort()", r"crashed \(SIGABRT\)"),
    "exits": ("import os; os._exit(3)", "ended by itself with code 3"),
    "leaves_quietly": ("raise SystemExit", "ended by itself with code 0"),
    "sleeps": ("import time; time.sleep(60)", "took longer than it may"),
    "loops": ("while True: pass", r"took longer than it may \([0-9.]+ s for this answer, [0-9.]+ s for all\)"),
    "takes_all_memory": ("bytearray(4 << 30)", r"takes more memory than it may \([0-9.]+ GiB\)"),
    "takes_memory_by_and_by": ("hoard = []\nwhile True: hoard.append(bytearray(8 << 20))", "more memory than it may"),
    "closes_its_pipes": ("import os, time; os.closerange(3, 64); time.sleep(60)", "stopped answering and went on"),
    "starts_threads_without_end": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "more memory than it may|can't start new thread",
    ),
    "calls_by_another_interface": (
        "import ctypes; ctypes.CDLL(None).syscall(0x40000029, 2, 1, 0)",
        r"crashed \(SIGSYS\)",
    ),
    "raises": ("raise ValueError('broken\\nin \\x1b[31mtwo')", r"cannot be asked: ValueError: broken in \[31mtwo"),
    "bombs_the_stack": ("def f(): f()\nf()", "cannot be asked: RecursionError"),
}


@pytest.mark.parametrize("kind", WHILE_LOADING)
def test_we_survive_a_model_that(kind: str, tmp_path: Path) -> None:
    code, reason = WHILE_LOADING[kind]
    path = write_model(tmp_path / "model.pickle", "return [0] * rows", before=code)
    with Worker("the model", [path], limits=limits_for(code)) as worker:
        with pytest.raises(PredictionFailed, match=reason) as caught:
            SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        assert "\n" not in caught.value.message


WHILE_PREDICTING: Mapping[str, tuple[str, str]] = {
    "crashes": ("import ctypes; ctypes.string_at(0)", r"crashed \(SIGSEGV\)"),
    "sleeps": ("import time; time.sleep(60)", "took longer than it may"),
    "raises": ("raise ValueError('not these')", "cannot be asked: ValueError: not these"),
    "answers_too_few": ("return [1] * (rows - 1)", "gave 5 labels to 6 rows"),
    "answers_nan": ("return [float('nan')] * rows", "a label that is NaN"),
    "answers_too_much": ("import numpy; return numpy.zeros(9_000_000)", "is too large"),
}


@pytest.mark.parametrize("kind", WHILE_PREDICTING)
def test_a_prediction_survives_a_model_that(kind: str, tmp_path: Path) -> None:
    body, reason = WHILE_PREDICTING[kind]
    with pytest.raises(PredictionFailed, match=reason):
        ask(tmp_path, body)


FORGERIES: Mapping[str, tuple[str, str]] = {
    "garbage": ("os.write(pipe(), b'x' * 100)", "a frame must begin with"),
    "a_huge_announcement": (
        "os.write(pipe(), struct.pack('<4sIQ', b'VLM1', 10, 1 << 60))",
        "is too large",
    ),
    "an_answer_before_the_question": (
        'import struct; head = b\'{"head": {"sequence": 1}, "arrays": []}\'\n'
        "os.write(pipe(), struct.pack('<4sIQ', b'VLM1', len(head), 0) + head)",
        "a question that was not asked|bytes follow the frame",
    ),
    "half_an_answer": (
        "os.write(pipe(), struct.pack('<4sIQ', b'VLM1', 100, 0) + b'{'); time.sleep(60)",
        "took longer than it may",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_we_survive_forged_frames_like(kind: str, tmp_path: Path) -> None:
    code, reason = FORGERIES[kind]
    path = write_model(tmp_path / "model.pickle", "return [0] * rows", before=f"{FIND_PIPE}\n{code}")
    with (
        Worker("the model", [path], limits=limits_for(code)) as worker,
        pytest.raises(PredictionFailed, match=reason),
    ):
        SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}})).predict(ROWS)


def test_a_prediction_survives_probabilities_that_do_not_sum_to_one(tmp_path: Path) -> None:
    members = "classes_ = [0, 1]\ndef predict_proba(self, frame):\n    return [[0.4, 0.4]] * len(frame)"
    with pytest.raises(PredictionFailed, match=r"sum to 0\.8, not to one"):
        ask(tmp_path, "return [0] * rows", members=members)


def test_different_answers_to_the_same_rows_are_no_answers(tmp_path: Path) -> None:
    body = "self.asked = getattr(self, 'asked', 0) + 1\nreturn [self.asked] * rows"
    with pytest.raises(PredictionFailed, match=r"different answers to the same rows asked twice \(6 of 6\)"):
        ask(tmp_path, body)


def test_an_answer_that_depends_on_the_place_of_a_row_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(PredictionFailed, match="different answers to the same rows"):
        ask(tmp_path, "return list(range(rows))")


def test_a_model_may_print_read_and_complain_as_it_likes(tmp_path: Path) -> None:
    body = """
        import os, sys
        print('x' * 1_000_000, flush=True)
        os.write(1, b'VLM1' * 1000)
        sys.stderr.write('y' * 1_000_000)
        assert sys.stdin.read() == ''
        return [int(value) % 2 for value in frame['a']]
    """
    assert ask(tmp_path, body).labels.tolist() == ["0", "1", "0", "1", "0", "1"]


def test_the_worker_took_the_memory_for_its_calls_at_once(tmp_path: Path) -> None:
    """Python doubles a chunk until the frame has room in it, so that of `main` leaves much for the calls below it."""
    body = """
        import sys
        frame = sys._getframe()
        while frame.f_code.co_name != 'main':
            frame = frame.f_back
        taken = 8 * frame.f_code.co_stacksize
        if taken <= 256 * 1024:
            raise MemoryError(f'main takes {taken} bytes, which fit in chunks of half the size')
        return [0] * rows
    """
    assert len(ask(tmp_path, body)) == len(ROWS)


def test_a_model_that_raises_may_be_asked_again(tmp_path: Path) -> None:
    body = "if rows == 1:\n    raise ValueError('one row is too few')\nreturn [0] * rows"
    path = write_model(tmp_path / "model.pickle", body)
    with Worker("the model", [path], limits=NARROW) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        with pytest.raises(PredictionFailed, match="one row is too few"):
            predictor.predict(ROWS.take(np.array([0])))
        assert predictor.failure == ""
        assert len(predictor.predict(ROWS)) == 6


def test_all_answers_together_have_a_time_limit(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pickle", "return [0] * rows")
    # Every look at the clock finds it seven seconds on; each answer alone is quick enough.
    clock = map(float, itertools.count(0, 7))
    limits = Limits(call_s=1_000, total_s=1_000)
    with Worker("the model", [path], limits=limits, clock=lambda: next(clock)) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))

        def ask_on() -> None:
            for _ in range(1_000):
                predictor.predict(ROWS)

        with pytest.raises(PredictionFailed, match="took longer than it may"):
            ask_on()


def test_a_closed_worker_answers_nothing_and_closes_again(tmp_path: Path) -> None:
    worker = Worker("the model", [write_model(tmp_path / "model.pickle", "return [0] * rows")])
    worker.close()
    worker.close()
    with pytest.raises(WorkerFailed, match="the model has been ended"):
        worker.call({"command": "hello"})


def test_an_unknown_command_is_refused_and_the_worker_goes_on() -> None:
    with Worker("the model", []) as worker:
        with pytest.raises(WorkerRefused, match="nonsense"):
            worker.call({"command": "nonsense"})
        assert worker.call({"command": "hello", "limits": {}}).head["reached"] == []


def test_what_held_the_worker_is_told() -> None:
    with Worker("the model", []) as worker:
        assert (worker.isolation.mechanism, worker.isolation.seccomp) == ("sandlock", True)
        assert worker.isolation.landlock_abi >= 6
        assert worker.isolation.degraded == ()


def test_without_landlock_nothing_is_run() -> None:
    with pytest.raises(Unavailable, match="Landlock ABI 0, a model is run under 6"):
        Worker("the model", [], landlock_abi=lambda: 0)


def test_a_weaker_isolation_that_policy_allows_says_what_is_missing() -> None:
    with Worker("the model", [], landlock_abi=lambda: 0, allow_weaker_isolation=True) as worker:
        assert (worker.isolation.mechanism, worker.isolation.seccomp) == ("none", False)
        assert any("network" in lack for lack in worker.isolation.degraded)


def test_an_older_landlock_that_policy_allows_says_which_protections_are_missing() -> None:
    with Worker("the model", [], landlock_abi=lambda: 5, allow_weaker_isolation=True) as worker:
        assert worker.isolation.mechanism == "sandlock"
        assert [lack.split(":")[0] for lack in worker.isolation.degraded] == [
            "Landlock SIGNAL_SCOPE",
            "Landlock ABSTRACT_UNIX_SOCKET_SCOPE",
        ]


def test_a_plain_worker_that_takes_too_much_memory_fails_too(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pickle", "return [len(bytearray(4 << 30))] * rows")
    with Worker("the model", [path], landlock_abi=lambda: 0, allow_weaker_isolation=True) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        with pytest.raises(PredictionFailed, match="MemoryError"):
            predictor.predict(ROWS)


@pytest.mark.parametrize("body", ["import ctypes; ctypes.string_at(0)", "import time; time.sleep(60)"])
def test_a_plain_worker_that_misbehaves_is_ended_too(body: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pickle", body)
    with Worker(
        "the model", [path], limits=limits_for(body), landlock_abi=lambda: 0, allow_weaker_isolation=True
    ) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        with pytest.raises(PredictionFailed, match=r"SIGSEGV|took longer"):
            predictor.predict(ROWS)


def test_a_worker_that_reached_out_is_not_used() -> None:
    held = Isolation(mechanism="sandlock", landlock_abi=7, seccomp=True)
    with pytest.raises(Unavailable, match="could reach the network; nothing was run"):
        check_held(held, ("the network",), allow_weaker=False)
    assert check_held(held, ("the network",), allow_weaker=True).degraded == ("the network: reached by the worker",)
    assert check_held(held, (), allow_weaker=False) is held
