"""Column names that skl2onnx respells: an honest data-frame model must be asked under the names it was given."""

from __future__ import annotations

import pytest

from vallum_validator.sandbox.program.onnx_model import _inputs_by_feature


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("mean radius", "mean_radius"),
        ("net.income (k€)", "net_income__k__"),
        ("1st", "_1st"),
        ("höhe", "höhe"),
        ("a+b", "a+b"),
    ],
)
def test_a_feature_finds_the_input_skl2onnx_made_of_it(name: str, spelling: str) -> None:
    from skl2onnx.common._topology import Topology

    assert Topology._generate_unique_name(name, set()) == spelling
    assert _inputs_by_feature({name}, {spelling}) == {name: spelling}


def test_a_name_that_two_features_would_share_is_nobodys() -> None:
    assert _inputs_by_feature({"a b", "a.b"}, {"a_b", "a_b1"}) == {}
    assert _inputs_by_feature({"a b", "a_b"}, {"a_b"}) == {"a_b": "a_b"}


def test_names_that_are_the_same_stay() -> None:
    assert _inputs_by_feature({"age", "sex"}, {"age", "sex"}) == {"age": "age", "sex": "sex"}
