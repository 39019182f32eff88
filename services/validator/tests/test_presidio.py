"""Presidio as a second reader: off unless policy asks, adds and never takes away, and is no pass where it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vallum_common.errors import Invalid, Unavailable
from vallum_local.testing import lack
from vallum_validator.assess import assess
from vallum_validator.checks import load_thresholds, run_check
from vallum_validator.checks.personal_data import personal_data
from vallum_validator.checks.presidio import second_reading, with_second_reading
from vallum_validator.checks.testing import subject_of
from vallum_validator.checks.thresholds import PresidioRule, Thresholds
from vallum_validator.domain.evidence import CheckResult, Outcome
from vallum_validator.sandbox.child import Limits
from vallum_validator.sandbox.frames import Frame
from vallum_validator.sandbox.isolation import FULL_LANDLOCK_ABI, kernel_landlock_abi
from vallum_validator.sandbox.opened import Holding
from vallum_validator.sandbox.presidio import PresidioReader, check_installed, open_presidio
from vallum_validator.sandbox.process import WorkerFailed
from vallum_validator.table import Subject, Table, TextHit

from .models.bundles import manifest_of, numeric, numeric_features, write_table

POLICY = Path(__file__).parents[3] / "policies" / "thresholds.yaml"
THRESHOLDS = load_thresholds(POLICY)
RULE = PresidioRule(entities=("US_ITIN", "IN_VOTER", "CRYPTO"), score=0.4, source="made up for this test")
HOLDING = Holding(Limits(memory_bytes=512 * 1024**2), allow_weaker_isolation=False)
ROWS = 200
IBAN = "DE89 3704 0044 0532 0130 00"
MARK = "found"

Find = Callable[[str], float]


@pytest.fixture
def real(pytestconfig: pytest.Config) -> None:
    """The package itself, and a kernel that holds the worker it runs in."""
    if importlib.util.find_spec("presidio_analyzer") is None:
        lack(pytestconfig, "Presidio", "it is not installed; `make presidio` does that")
    if kernel_landlock_abi() < FULL_LANDLOCK_ABI:
        pytest.skip("it runs in full isolation or not at all")


@dataclasses.dataclass
class Reader:
    """Finds what a function scores, and breaks off at the call that is told."""

    find: Find
    breaks_at: int = 1000
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def read(self, texts: Sequence[str], context: Sequence[str]) -> list[TextHit]:
        self.breaks_at -= 1
        if self.breaks_at < 0:
            raise WorkerFailed("Presidio was killed")
        return [TextHit(place, "KIND", "Mine", self.find(text)) for place, text in enumerate(texts) if self.find(text)]


def marked(text: str) -> float:
    return 0.9 if text.startswith(MARK) else 0.0


def _text(*values: str | None) -> np.ndarray:
    column = np.empty(ROWS, dtype=object)
    column[:] = (list(values) * ROWS)[:ROWS]
    return column


def _asked(thresholds: Thresholds = THRESHOLDS, **more: Any) -> Thresholds:
    rule = RULE.model_copy(update=more)
    return thresholds.model_copy(update={"data_privacy": thresholds.data_privacy.model_copy(update={"presidio": rule})})


def _subject(
    columns: Mapping[str, Any], reader: Any = None, *, thresholds: Thresholds | None = None, **more: Any
) -> Subject:
    x = np.linspace(-1, 1, ROWS)
    label = np.array([str(int(each > 0)) for each in x], dtype=object)
    subject = subject_of(
        lambda asked: (asked.columns["x"] > 0).astype(int),
        {"x": {"type": "number"}},
        thresholds=thresholds or _asked(),
        evaluation=Table({"x": x, "label": label, **columns}),
        **more,
    )
    return dataclasses.replace(subject, presidio=None if reader is None else lambda: contextlib.nullcontext(reader))


def _told(result: CheckResult) -> Any:
    return result.details["personal_data"]["presidio"]  # type: ignore[index,call-overload]


def _on_a_pass(subject: Subject) -> CheckResult:
    """The result of a check that has passed so far."""
    passed = CheckResult("data_privacy", Outcome.PASS, seed=0, reason="passed", details={"personal_data": {}})
    found = second_reading(subject, personal_data(subject))
    assert found is not None
    return with_second_reading(passed, found, 0.01)


class TestOff:
    def test_shipped_policy_does_not_ask(self) -> None:
        assert THRESHOLDS.data_privacy.presidio is None

    def test_nobody_is_asked_and_nothing_is_told(self) -> None:
        def open_it() -> Any:
            raise AssertionError("it was opened")

        subject = _subject({"note": _text(MARK)}, thresholds=THRESHOLDS)
        with_one = run_check("data_privacy", dataclasses.replace(subject, presidio=open_it))
        assert with_one == run_check("data_privacy", subject)
        assert "presidio" not in with_one.details["personal_data"]  # type: ignore[operator]

    def test_nothing_has_to_be_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
        check_installed(THRESHOLDS)


class TestPolicy:
    def test_example_in_the_shipped_policy_can_be_switched_on(self, tmp_path: Path) -> None:
        switched = re.sub(r"(?m)^  #(presidio:|  )", r"  \1", POLICY.read_text())
        (tmp_path / "thresholds.yaml").write_text(switched)
        rule = load_thresholds(tmp_path / "thresholds.yaml").data_privacy.presidio
        assert rule is not None
        assert len(rule.entities) > 10

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"entities": []}, "entities"),
            ({"entities": ["a b"]}, "entities"),
            ({"score": 0}, "score"),
            ({"score": 1.5}, "score"),
            ({"most_rows": 0}, "most_rows"),
            ({"language": "en"}, "language"),
        ],
    )
    def test_what_it_cannot_mean_is_refused(self, change: dict[str, Any], told: str, tmp_path: Path) -> None:
        document = yaml.safe_load(POLICY.read_text())
        document["data_privacy"]["presidio"] = {"entities": ["A"], "score": 0.5, "source": "made up here", **change}
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(document))
        with pytest.raises(Invalid, match=told):
            load_thresholds(tmp_path / "t.yaml")

    def test_missing_package_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
        with pytest.raises(Invalid, match=r"not installed; install vallum-validator\[presidio\] or take it out"):
            check_installed(_asked())
        with pytest.raises(Invalid, match=r"vallum-validator\[presidio\]"):
            assess(tmp_path, manifest_of({"n": {"type": "number"}}), thresholds=_asked(), seed=0)

    @pytest.mark.extra
    @pytest.mark.usefixtures("real")
    @pytest.mark.parametrize("model", ["en_no_such_model", "no_such.model", "/no/such/folder"])
    def test_missing_model_is_one_line(self, model: str) -> None:
        with pytest.raises(Invalid, match=f"the spaCy model '{model}' .* not installed"):
            check_installed(_asked(model=model))


class TestAdds:
    def test_what_it_finds_fails_and_is_told_by_recogniser_score_and_column_and_not_repeated(self) -> None:
        note = _text(MARK + " you", "nothing", None, "")
        result = run_check("data_privacy", _subject({"note": note}, Reader(marked, versions={"presidio": "1"})))
        assert result.outcome is Outcome.FAIL
        assert result.reason.startswith(
            f"{ROWS // 4} of {ROWS} rows hold personal data, KIND in 'evaluation.note' by Presidio's Mine with score "
            "0.9 among them; policy allows 1.0%; "
        )
        hits = [{"entity": "KIND", "recogniser": "Mine", "rows": ROWS // 4, "score": 0.9}]
        assert _told(result)["columns"] == {"evaluation.note": hits}
        assert (_told(result)["share"], _told(result)["versions"]) == (0.25, {"presidio": "1"})
        assert (_told(result)["entities"], _told(result)["least_score"]) == (list(RULE.entities), RULE.score)
        assert "you" not in repr(result)

    def test_what_it_does_not_find_stays_found(self) -> None:
        subject = _subject({"note": _text(IBAN, "nothing")}, Reader(lambda _: 0.0))
        alone = run_check("data_privacy", _subject({"note": _text(IBAN, "nothing")}, thresholds=THRESHOLDS))
        both = run_check("data_privacy", subject)
        assert (both.outcome, both.reason) == (alone.outcome, alone.reason) == (Outcome.FAIL, both.reason)
        assert _told(both)["share"] == 0.5

    def test_rows_that_either_finds_are_counted_together(self) -> None:
        note = _text("nothing")
        note[:2], note[2:4] = IBAN, MARK
        found = second_reading(subject := _subject({"note": note}, Reader(marked)), personal_data(subject))
        assert found is not None
        assert found.parts == {"evaluation": (4, ROWS)}
        assert _on_a_pass(subject).outcome is Outcome.FAIL
        assert run_check("data_privacy", _subject({"note": note}, thresholds=THRESHOLDS)).outcome is not Outcome.FAIL

    def test_few_rows_and_cards_decide_nothing(self) -> None:
        note = _text("nothing")
        note[:2] = MARK
        result = _on_a_pass(_subject({"note": note}, Reader(marked), card=f"## Contact\n\n{MARK}\n{MARK}"))
        assert result.outcome is Outcome.PASS
        assert _told(result)["card"] == [{"entity": "KIND", "recogniser": "Mine", "rows": 2, "score": 0.9}]

    @pytest.mark.parametrize("as_text", [False, True])
    def test_bare_numbers_count_where_most_of_a_column_are_found(self, as_text: bool) -> None:
        def every_third(text: str) -> float:
            return float(len(text) == 11 and text.isdecimal() and int(text) % 3 == 0)

        some, all_of_them = 10**10 + np.arange(ROWS), 10**10 + 2 + 3 * np.arange(ROWS)
        kind = (lambda numbers: _text(*map(str, numbers))) if as_text else (lambda numbers: numbers.astype(float))
        found = second_reading(
            subject := _subject({"some": kind(some), "all": kind(all_of_them)}, Reader(every_third)),
            personal_data(subject),
        )
        assert found is not None
        assert list(found.columns) == ["evaluation.all"]

    def test_only_so_many_rows_are_read(self) -> None:
        subject = _subject({"note": _text(MARK)}, Reader(marked), thresholds=_asked(most_rows=50))
        assert _told(run_check("data_privacy", subject))["rows"] == 50


class TestFails:
    @pytest.mark.parametrize("calls", [0, 1, 3])
    def test_reading_that_breaks_off_is_no_pass(self, calls: int) -> None:
        result = _on_a_pass(_subject({"note": _text("nothing")}, Reader(marked, breaks_at=calls)))
        assert result.outcome is Outcome.INCONCLUSIVE
        assert result.reason == ("policy asks for Presidio, which did not read everything: Presidio was killed; passed")
        assert _told(result)["failure"] == "Presidio was killed"

    def test_reader_that_cannot_be_held_is_no_pass(self) -> None:
        def unavailable() -> Any:
            raise Unavailable("no sandbox here")

        result = _on_a_pass(dataclasses.replace(_subject({}), presidio=unavailable))
        assert (result.outcome, "no sandbox here" in result.reason) == (Outcome.INCONCLUSIVE, True)
        assert _on_a_pass(_subject({})).outcome is Outcome.INCONCLUSIVE

    def test_what_was_found_before_it_broke_off_counts(self) -> None:
        columns = {"a": _text(MARK), "b": _text("nothing")}
        result = _on_a_pass(_subject(columns, Reader(marked, breaks_at=3)))
        assert result.outcome is Outcome.FAIL

    def test_model_that_is_gone_is_unavailable(self, tmp_path: Path) -> None:
        rule = RULE.model_copy(update={"model": str(tmp_path / "gone")})
        with pytest.raises(Unavailable, match="cannot be read"), open_presidio(rule, HOLDING):
            pass

    def test_it_takes_no_failure_away(self) -> None:
        result = run_check("data_privacy", _subject({"note": _text(IBAN)}, Reader(marked, breaks_at=0)))
        assert result.outcome is Outcome.FAIL
        assert "bank account" in result.reason


class Worker:
    """Answers what it was given."""

    limits = Limits()

    def __init__(self, *answers: Any) -> None:
        self.answers = [Frame({"versions": {"presidio": "1"}}), *answers]
        self.asked: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []

    def call(self, head: Mapping[str, Any], arrays: Mapping[str, Any] | None = None, *, seconds: Any = None) -> Frame:
        self.asked.append((head, arrays or {}))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def hits(**changed: Any) -> Frame:
    """An honest answer, with one part of it changed."""
    names = {name: np.array([value], dtype=object) for name, value in (("entity", "US_ITIN"), ("recogniser", "R"))}
    return Frame({}, {"row": np.array([0], np.int32), "score": np.array([0.5]), **names, **changed})


class TestHostileWorker:
    def test_honest_answer_is_read(self) -> None:
        assert PresidioReader(Worker(hits()), RULE).read(["a"], []) == [TextHit(0, "US_ITIN", "R", 0.5)]  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "answer",
        [
            Frame({}),
            hits(row=np.array([1], np.int32)),
            hits(row=np.array([-1], np.int32)),
            hits(row=np.array([0.0])),
            hits(row=np.array([0, 0], np.int32)),
            hits(row=np.array([[0]], np.int32)),
            hits(entity=np.array(["US_SSN"], dtype=object)),
            hits(entity=np.array([None], dtype=object)),
            hits(recogniser=np.array(["a\nb"], dtype=object)),
            hits(recogniser=np.array(["a" * 101], dtype=object)),
            hits(score=np.array([1.1])),
            hits(score=np.array([0.39])),
            hits(score=np.array([np.nan])),
            hits(score=np.array(["1"], dtype=object)),
        ],
    )
    def test_anything_else_is_a_failure(self, answer: Frame) -> None:
        with pytest.raises(WorkerFailed, match="Presidio sent"):
            PresidioReader(Worker(answer), RULE).read(["a"], [])  # type: ignore[arg-type]

    @pytest.mark.parametrize("versions", [None, [], {"presidio": 1}, {"presidio": "a\nb"}, {"presidio": "1" * 101}])
    def test_versions_are_names(self, versions: Any) -> None:
        worker = Worker()
        worker.answers = [Frame({"versions": versions})]
        with pytest.raises(WorkerFailed, match="which version"):
            PresidioReader(worker, RULE)  # type: ignore[arg-type]

    def test_long_texts_and_many_of_them_go_in_pieces(self) -> None:
        """A cell or a name that is too large for a message must not end the check, and with it our own search."""
        nothing = {name: np.empty(0, dtype) for name, dtype in (("row", np.int32), ("score", float))}
        nothing |= {name: np.empty(0, object) for name in ("entity", "recogniser")}
        worker = Worker(Frame({}, nothing))
        numbers = [f"{number:09d}" for number in range(100_000)]
        texts = [" ".join(numbers), *["y"] * 1_200, ""]
        assert PresidioReader(worker, RULE).read(texts, ["w" * 2_000_000] * 100) == []  # type: ignore[arg-type]
        sent = [arrays["texts"].tolist() for _, arrays in worker.asked[1:]]
        pieces = [piece for batch in sent for piece in batch]
        assert pieces.count("y") == 1_200
        assert set(numbers) <= {word for piece in pieces for word in piece.split()}, "none is lost at a cut"
        assert max(sum(map(len, batch)) for batch in sent) <= 200_000
        assert max(map(len, sent)) <= 500
        assert all(len("".join(head["context"])) < 1_000 for head, _ in worker.asked[1:])


@pytest.fixture(scope="module")
def found_by_presidio() -> Iterator[Callable[..., list[tuple[int, str, float]]]]:
    """Ask a worker that lives as long as this module for the entities it needs, each set once."""
    with contextlib.ExitStack() as stack:
        readers: dict[PresidioRule, PresidioReader] = {}

        def ask(texts: Sequence[str], context: Sequence[str] = (), **change: Any) -> list[tuple[int, str, float]]:
            rule = RULE.model_copy(update=change)
            if rule not in readers:
                readers[rule] = stack.enter_context(open_presidio(rule, HOLDING))
            return [(hit.text, hit.entity, hit.score) for hit in readers[rule].read(texts, context)]

        yield ask


@pytest.mark.extra
@pytest.mark.usefixtures("real")
class TestPresidioItself:
    def test_it_finds_in_the_sandbox_what_we_do_not(
        self, found_by_presidio: Callable[..., list[tuple[int, str, float]]]
    ) -> None:
        texts = ["nothing", "voter ABC1234567", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "912-70-1234"]
        assert found_by_presidio(texts) == [(1, "IN_VOTER", 0.4), (2, "CRYPTO", 1.0), (3, "US_ITIN", 0.5)]

    def test_name_of_a_column_tells_what_its_values_are(
        self, found_by_presidio: Callable[..., list[tuple[int, str, float]]]
    ) -> None:
        assert found_by_presidio(["912-70-1234"], ["itin"]) == [(0, "US_ITIN", 0.85)]

    def test_addresses_are_judged_without_asking_a_server(self, tmp_path: Path) -> None:
        """Its list of top-level domains is fetched where nothing stops it: a plain process, under a weaker policy."""
        program = """
import socket
asked = []
def refuse(*host, **_):
    asked.append(host)
    raise OSError("no network")
socket.getaddrinfo = refuse
from vallum_validator.sandbox.program.presidio import Presidio
found = Presidio(["EMAIL_ADDRESS"], 1.0, "").find(["ada@lovelace.org", "ada@lovelace.nodomain"], [])
print(found["row"].tolist(), found["entity"].tolist(), asked)
"""
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert ran.stdout == "[0] ['EMAIL_ADDRESS'] []\n", ran.stderr

    def test_entity_that_it_does_not_know_is_told(self) -> None:
        subject = dataclasses.replace(
            _subject({}),
            presidio=lambda: open_presidio(RULE.model_copy(update={"entities": ("NO_SUCH",)}), HOLDING),
        )
        result = _on_a_pass(subject)
        assert result.outcome is Outcome.INCONCLUSIVE
        assert "it finds no entity 'NO_SUCH'; it finds ABA_ROUTING_NUMBER, " in result.reason

    def test_model_finds_names(self, tmp_path: Path) -> None:
        import spacy

        pipeline = spacy.blank("en")
        pipeline.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}])
        pipeline.to_disk(tmp_path / "names")
        rule = RULE.model_copy(update={"model": str(tmp_path / "names"), "entities": ("PERSON", "US_ITIN")})
        check_installed(_asked(model=rule.model))
        with open_presidio(rule, HOLDING) as reader:
            assert reader.versions["model"].startswith("en_")
            found = reader.read(["written by Ada Lovelace", "912-70-1234"], [])
        assert [(hit.text, hit.entity, hit.recogniser) for hit in found] == [
            (0, "PERSON", "SpacyRecognizer"),
            (1, "US_ITIN", "UsItinRecognizer"),
        ]

    def test_whole_assessment_tells_what_it_found_the_same_way_twice(self, tmp_path: Path) -> None:
        frame, labels = numeric("iris")
        (tmp_path / "model.onnx").write_bytes(b"no model, and so nothing else is measured")
        (tmp_path / "card.md").write_text("# Iris\n\nVoter ABC1234567 knows more.\n")
        write_table(tmp_path / "evaluation.parquet", frame, labels)
        manifest = manifest_of(numeric_features(frame)).model_copy(update={"card": "card.md"})
        check, again = (
            assess(tmp_path, manifest, thresholds=_asked(), seed=0, only=("data_privacy",)).checks[0] for _ in range(2)
        )
        assert check == again
        found = [{"entity": "IN_VOTER", "recogniser": "InVoterRecognizer", "rows": 1, "score": 0.4}]
        assert (_told(check)["card"], _told(check)["failure"], _told(check)["rows"]) == (found, "", len(frame))
        assert _told(check)["versions"]["presidio-analyzer"]
