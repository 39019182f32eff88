"""The risk model as a file: the shipped one is whole, and each thing that can be wrong is refused in one line."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vallum_common.errors import Invalid
from vallum_risk.domain import RISK_NAMES
from vallum_risk.model import load_risk_model

from .evidently import POLICY_FILE

RISK = "technical.model_vulnerabilities"
Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The shipped file."""
    return yaml.safe_load(POLICY_FILE.read_bytes())


@pytest.fixture
def refusal(tmp_path: Path, document: dict[str, Any]) -> Callable[[Change], str]:
    """The line with which the shipped file is refused after a change."""

    def refuse(change: Change) -> str:
        changed = copy.deepcopy(document)
        change(changed)
        path = tmp_path / "risk.yaml"
        path.write_text(yaml.safe_dump(changed))
        return refused(path)

    return refuse


def refused(path: Path) -> str:
    with pytest.raises(Invalid) as error:
        load_risk_model(path)
    assert "\n" not in error.value.message
    assert str(path) in error.value.message
    return error.value.message


def test_shipped_model_says_what_bears_on_each_of_the_twelve(shipped) -> None:
    assert tuple(sorted(shipped.risks)) == tuple(sorted(RISK_NAMES))
    assert all(definition.action for definition in shipped.risks.values())
    assert all(bearing.source for definition in shipped.risks.values() for bearing in definition.evidence)


def test_digest_is_that_of_the_bytes(shipped) -> None:
    assert shipped.digest == hashlib.sha256(POLICY_FILE.read_bytes()).hexdigest()


def scale_of(document: dict[str, Any]) -> list[list[float]]:
    return document["risks"][RISK]["evidence"][0]["scale"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["risks"].pop(RISK), f"must be the twelve of the register; differing: {{{RISK!r}}}"),
        (lambda d: d["risks"].update(other=d["risks"][RISK]), "differing: {'other'}"),
        (lambda d: d["severity"].pop("high"), "severity needs the tiers minimal, limited and high"),
        (lambda d: d["severity"].update(high=1.5), "severity.high: Input should be less than or equal to 1"),
        (lambda d: d["signs"].pop("good"), "signs needs `good` and `bad`"),
        (lambda d: d["signs"].update(good=[0, 1]), "with a, b > 0"),
        (lambda d: d["signs"].update(good=[float("inf"), 1]), "signs.good.0: Input should be a finite number"),
        (lambda d: d.update(category_weights=[0.5, 0.25, 0.15, 0.2]), "category_weights must sum to 1"),
        (lambda d: d.update(category_weights=[0.5, 0.5]), "category_weights"),
        (lambda d: d.update(draws=10), "draws: Input should be greater than or equal to 1000"),
        (lambda d: d.pop("source"), "source: Field required"),
        (lambda d: d.update(recomendation_level=1), "recomendation_level: Extra inputs are not permitted"),
        (lambda d: d["risks"][RISK].update(action=""), f"risks.{RISK}.action: String should have at least 1 character"),
        (lambda d: d["risks"][RISK]["evidence"][0].pop("source"), f"risks.{RISK}.evidence.0.source: Field required"),
        (lambda d: scale_of(d).reverse(), "the quantities of 'scan' must ascend, got [1.0, 0.0]"),
        (lambda d: scale_of(d).append(scale_of(d)[-1]), "the quantities of 'scan' must ascend"),
        (lambda d: scale_of(d).pop(), "scale: Tuple should have at least 2 items"),
        (lambda d: scale_of(d)[1].__setitem__(1, 1.1), "Input should be less than or equal to 1"),
        (lambda d: scale_of(d)[0].__setitem__(0, float("nan")), "Input should be a finite number"),
    ],
)
def test_wrong_file_is_refused_with_its_place(refusal: Callable[[Change], str], change: Change, said: str) -> None:
    assert said in refusal(change)


@pytest.mark.parametrize("content", ["risks: [", "version: 2026-99-99", "\x00", "- a", ""])
def test_what_is_no_risk_model_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text(content)
    assert refused(path)


def test_absent_file_is_told(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refused(tmp_path / "risk.yaml")
