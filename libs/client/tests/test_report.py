"""The page with the evidence: every figure from what was measured, nothing from elsewhere, nothing unescaped."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum_client.report import Evidence, render, write
from vallum_client.report.figures import figures
from vallum_client.report.plots import Axis, Curve, Row, curves, intervals, shown
from vallum_common.errors import Invalid

HOSTILE = "</svg><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def _check(name: str, outcome: str = "PASS", **details: Any) -> dict[str, Any]:
    return {
        "name": name,
        "outcome": outcome,
        "value": 0.5,
        "interval": [0.25, 0.75],
        "confidence": 0.95,
        "samples": 100,
        "method": "counting",
        "seed": 7,
        "reason": "because",
        "details": details,
    }


def _evidence(text: str = "age") -> list[dict[str, Any]]:
    group = {
        "name": text,
        "rows": 40,
        "pooled": False,
        "impact": {"ratio": 0.7, "low": 0.6, "high": 0.75},
        "calibration": {"gap": 0.1, "low": -0.1, "high": 0.3, "expected_error": 0.2},
    }
    family = {"columns": [text], "answer": text, "reference": text, "outcome": "FAIL", "groups": [group], "gaps": {}}
    points = [{"radius": 0.01, "attacked": 0.1, "certified": 0.8}, {"radius": 0.1, "attacked": 0.4, "certified": 0.2}]
    trial = {"measure": text, "before": 0.5, "after": 0.3, "low": 0.2, "high": 0.4, "accuracy_after": 0.8}
    roc = [{"fpr": 0.001, "tpr": 0.0, "low": 0.0, "high": 0.1}, {"fpr": 0.1, "tpr": 0.3, "low": 0.2, "high": 0.4}]
    share = {"feature": text, "share": 0.2, "standard_error": 0.01}
    decision = {"row": 3, "answer": text, "score": 0.9, "base": 0.5, "shares": [share]}
    metric = {"name": text, "declared": 0.9, "reproduced": 0.8, "low": 0.7, "high": 0.85, "holds": False}
    return [
        _check(
            "adversarial_robustness",
            curve={"rows": 9, "points": points},
            boundary={"unit": "spans", "rows": 9, "linf": {"rows": 7, "curve": points}, "l2": {"curve": points[:1]}},
            hardening=[trial],
        ),
        _check("data_privacy", roc=roc, worst_attack=text, epsilon_at_least=1.5, hardening=[trial]),
        _check("bias_fairness", "FAIL", families=[family], threshold={"disparate_impact": 0.8, "source": text}),
        _check(
            "transparency",
            importance=[{"feature": text, "loss": 0.1, "standard_error": 0.02}],
            explained_decisions=[decision],
            declared_metrics=[metric],
            missing_items=[{"id": "a", "asks": text, "source": text}],
        ),
    ]


def _page(text: str = "age") -> str:
    file = {"path": text, "format": "onnx", "verdict": "CLEAN", "sha256": "ab" * 32}
    finding = {"severity": "HIGH", "rule": "x.y", "member": text, "offset": 4, "message": text}
    scan = {"verdict": "CLEAN", "files": [{**file, "findings": [finding]}]}
    return render(Evidence(text, {"owner": text}, _evidence(text), scan))


class _Tags(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.tags


def test_what_was_left_out_of_the_evidence_is_told() -> None:
    evidence = _evidence()
    details = evidence[2]["details"]
    details["families"].append({**details["families"][0], "outcome": "PASS", "groups": [], "left_out": {"groups": 40}})
    details["left_out"] = {"families": 3, "label_mapping": 0}
    page = render(Evidence("age", {}, evidence, None))
    told = "left out of it: 3 of the entries of families, some lists of the entries of label mapping."
    assert told in page
    assert "1 more comparisons are in the evidence below" in page


def test_a_curve_says_of_how_many_rows_it_is() -> None:
    told = {figure.heading: figure.caption for figure in figures(_evidence()[0])}
    assert told["Robustness, changes that could happen"].endswith(" 9 rows.")
    assert told["Robustness, L∞"].endswith(" 7 rows.")


def test_every_check_gives_its_figures() -> None:
    headings = {check["name"]: [figure.heading for figure in figures(check)] for check in _evidence()}
    assert headings == {
        "adversarial_robustness": [
            "Robustness, changes that could happen",
            "Robustness, L∞",
            "Hardening, measured",
        ],
        "data_privacy": ["Membership inference, both axes logarithmic", "Hardening, measured"],
        "bias_fairness": ["age: who gets 'age'", "age: promised against come true"],
        "transparency": [
            "What the model relies on",
            "Why row 3 got 'age' (0.90)",
            "What the card declares, reproduced",
        ],
    }
    assert _page().count("<figure>") == 10


def test_hostile_names_stay_text() -> None:
    page = _page(HOSTILE)
    tags = _tags(page)
    assert not {"script", "img", "iframe", "object", "embed", "link"} & {tag for tag, _ in tags}
    assert not [attributes for _, attributes in tags if any(name.startswith("on") for name in attributes)]
    assert HOSTILE not in page


def test_the_page_needs_nothing_else() -> None:
    page = _page()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)", page)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_evidence_is_on_the_page_once_more_as_it_was_measured() -> None:
    page = _page(HOSTILE)
    raw = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert json.loads(raw)["checks"] == _evidence(HOSTILE)


def test_the_same_evidence_gives_the_same_page() -> None:
    assert _page() == _page()


def test_checks_that_measured_nothing_are_told_without_figures() -> None:
    nothing = {**_check("data_privacy", "INCONCLUSIVE"), "value": None, "interval": None, "method": "", "details": {}}
    page = render(Evidence("m@1", {}, [nothing, _check("a check of tomorrow")]))
    assert "<figure>" not in page
    assert "nothing was measured" in page


def test_a_page_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="cannot be written"):
        write(tmp_path / "file" / "page.html", Evidence("m@1", {}, []))


def test_both_bounds_enclose_the_truth_on_the_curve() -> None:
    (curve, *_) = figures(_evidence()[0])
    # 20 % certified at the largest radius: at most 80 % flipped, drawn above the 40 % that an attack flipped.
    lines = re.findall(r'polyline class="line" points="([^"]+)"', curve.picture)
    attacked, uncertified = (float(line.split()[-1].split(",")[1]) for line in lines)
    assert uncertified < attacked


def test_a_logarithmic_axis_by_hand() -> None:
    axis = Axis("x", 0.001, 1.0, log=True)
    assert [axis.place(value) for value in (0.001, 0.01, 0.1, 1.0, 5.0, 1e-9)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1, 1, 0]
    )
    assert axis.ticks() == pytest.approx([0.001, 0.01, 0.1, 1.0])


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_even_and_on_the_axis(low: float, width: float) -> None:
    axis = Axis("x", low, low + width)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 12
    assert all(axis.low - 1e-6 * width <= tick <= axis.high + 1e-6 * width for tick in ticks)


@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.floats(-5, 5)), st.floats(-5, 5)), min_size=1, max_size=9))
def test_any_row_can_be_drawn(rows: list[tuple[str, float | None, float]]) -> None:
    drawn = intervals("t", [Row(name, value, low, None, note=name) for name, value, low in rows], Axis("x", -1, 1))
    assert "nan" not in drawn
    assert drawn.count("<circle") == sum(value is not None for _, value, _ in rows)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9))
def test_any_curve_can_be_drawn(points: list[tuple[float, float]]) -> None:
    x, y = Axis("x", 1e-3, 1.0, log=True), Axis("y", 0.0, 1.0)
    drawn = curves("t", [Curve("c", points, band=[(at, 0.0, high) for at, high in points])], x, y)
    assert drawn.count("<polyline") == 1
    assert "nan" not in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0.0, "0"),
        (0.5, "0.5"),
        (0.12349, "0.123"),
        (4e-5, "4.0e-05"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_what_failed_is_drawn_first_and_what_is_not_drawn_is_counted() -> None:
    groups = [{"name": f"g{place}", "rows": 40, "impact": {"ratio": place / 30, "low": 0.1, "high": 1.2}}
              for place in range(25)]  # fmt: skip
    families = [
        {"columns": [f"c{place}"], "answer": "yes", "reference": "g24", "gaps": {}, "groups": groups,
         "outcome": "FAIL" if place == 9 else "PASS"}
        for place in range(10)
    ]  # fmt: skip
    drawn = figures(_check("bias_fairness", families=families))
    assert [figure.heading for figure in drawn][:2] == ["c9: who gets 'yes'", "c0: who gets 'yes'"]
    assert "5 more groups with higher rates are in the evidence below" in drawn[0].caption
    assert "comparisons" not in drawn[0].caption
    assert "2 more comparisons are in the evidence below" in drawn[-1].caption


def test_why_nothing_was_proved_is_told_below_the_curve() -> None:
    points = [{"radius": radius, "attacked": 0.1, "certified": None} for radius in (0.01, 0.1)]
    details = {"curve": {"rows": 9, "points": points}, "not_certified": "DART stands in the way"}
    assert (
        "No bound from above: DART stands in the way."
        in figures(_check("adversarial_robustness", **details))[0].caption
    )
