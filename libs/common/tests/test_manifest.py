"""The manifest: what is right is read as it was meant, and every refusal is one line that says what would be right."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vallum_common.bundle import FeatureType, Manifest, Task, Tier, parse_manifest
from vallum_common.bundle.manifest import MAX_MANIFEST_BYTES
from vallum_common.errors import Invalid

MODEL = {"id": "adult-income", "version": "1.2.0", "artifact": "model.onnx", "owner": "credit-platform"}
WHOLE = """
model:
  id: adult-income
  version: 1.2.0
  artifact: model.onnx
  task: classification
  tier: limited
  owner: credit-platform
  intended_use: Nothing but this test.
data:
  evaluation: {file: data/evaluation.parquet, label: income, positive: ">50K"}
  members:    {file: data/members.parquet}
  population: {file: data/population.parquet}
  sensitive: [sex, race]
  features:
    age:    {type: integer, min: 17, max: 90, mutable: true}
    sex:    {type: categorical, values: [Female, Male], mutable: false}
    remote: {type: categorical, values: [yes, no]}
card: card.md
lineage: {code: "git:abc", parent: adult-income@1.1.0, datasets: [{name: adult, sha256: SHA}]}
vendor: {name: Acme, contract_expires: 2027-06-30}
signature: model.sig
""".replace("SHA", "ab" * 32)


def manifest(model: Mapping[str, Any] = {}, **sections: Any) -> bytes:
    """A right manifest, but for what a test changes; a key set to `None` is left out."""
    section = {key: value for key, value in {**MODEL, **model}.items() if value is not None}
    return yaml.safe_dump({"model": section, **sections}).encode()


def refusal(content: bytes) -> str:
    """The one line of a refusal."""
    with pytest.raises(Invalid) as refused:
        parse_manifest(content)
    assert "\n" not in refused.value.message
    return refused.value.message


def test_whole_manifest_is_read_as_it_was_meant() -> None:
    read = parse_manifest(WHOLE.encode())
    assert read.name == "adult-income@1.2.0"
    assert (read.model.task, read.model.tier) == (Task.CLASSIFICATION, Tier.LIMITED)
    assert read.data.evaluation is not None
    assert read.data.evaluation.positive == ">50K"
    assert list(read.data.features) == ["age", "sex", "remote"]
    assert (read.data.features["age"].type, read.data.features["age"].max) == (FeatureType.INTEGER, 90)
    assert read.vendor is not None
    assert read.vendor.contract_expires == dt.date(2027, 6, 30)


def test_what_is_not_said_is_the_strict_default() -> None:
    read = parse_manifest(manifest())
    assert (read.model.tier, read.model.task) == (Tier.HIGH, Task.CLASSIFICATION)
    assert (read.data.evaluation, read.card, read.vendor) == (None, None, None)


def test_yes_and_no_are_words_and_true_and_false_are_not() -> None:
    features = "{a: {type: categorical, values: [yes, no, on, off]}, b: {type: categorical, values: [true, false]}}"
    read = parse_manifest(manifest() + f"data: {{features: {features}}}\n".encode())
    assert read.data.features["a"].values == ("yes", "no", "on", "off")
    assert read.data.features["b"].values == (True, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (manifest({"tire": "high"}), "model.tire: unknown key; did you mean 'tier'?"),
        (manifest({"zzzzzz": 1}), "known here: id, version, artifact, task, tier, owner, intended_use"),
        (manifest(dta={}), "dta: unknown key; did you mean 'data'?"),
        (manifest(data={"evalution": {}}), "data.evalution: unknown key; did you mean 'evaluation'?"),
        (manifest(data={"members": {"fiel": "a"}}), "data.members.fiel: unknown key; did you mean 'file'?"),
        (manifest(data={"features": {"age": {"tpye": "integer"}}}), "features.age.tpye: unknown key; did you mean 't"),
        (manifest(lineage={"datasets": [{"nmae": "a"}]}), "datasets.0.nmae: unknown key; did you mean 'name'?"),
    ],
)
def test_unknown_key_is_told_with_the_nearest_known_one(content: bytes, said: str) -> None:
    assert said in refusal(content)


def one_feature(**feature: Any) -> bytes:
    """A manifest with one feature named `age`."""
    return manifest(data={"features": {"age": feature}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not UTF-8 text (byte 0)"),
        (b"model: {", "not YAML"),
        (b"", "must be a mapping with the section `model`, got NoneType"),
        (b"- a", "must be a mapping with the section `model`, got list"),
        (b"data: {}", "model: is missing"),
        (b"--- {}\n--- {}", "expected a single document"),
        (b"model: !!python/object:os.system {}", "could not determine a constructor"),
        (b"[" * 2_000, "not YAML"),
        (b"#" * (MAX_MANIFEST_BYTES + 1), f"has {MAX_MANIFEST_BYTES + 1} bytes; at most {MAX_MANIFEST_BYTES}"),
        (b"a: &x 1\nb: *x", "line 2: aliases (*name) are not allowed"),
        (b"model: {}\nmodel: {}", "line 2: key 'model' is written twice"),
        (b"model: {id: a, id: b}", "line 1: key 'id' is written twice"),
        (b"? [a]\n: b", "line 1: a key must be a word, got ['a']"),
        (b"model: {<<: {tier: minimal}}", "not YAML"),
        (b'model: {owner: "a\\0b"}', "line 1: 'a\\x00b' holds a zero character"),
        (b'data: {sensitive: ["\\ud800"]}', "line 1: '\\ud800' holds a zero character or half a character"),
        (manifest({"owner": None}), "model.owner: is missing"),
        (manifest({"owner": ""}), "model.owner: must have at least 1 character, got ''"),
        (manifest({"version": 1.2}), "model.version: input should be a valid string, got '1.2'; write it in quotes"),
        (manifest({"version": "../1"}), "model.version: string should match pattern"),
        (manifest({"id": "Adult"}), "model.id: string should match pattern"),
        (manifest({"id": "a" * 64}), "model.id: string should match pattern"),
        (manifest({"tier": "hihg"}), "model.tier: input should be 'minimal', 'limited' or 'high', got 'hihg'"),
        (manifest({"artifact": "../model.onnx"}), "'../model.onnx' must be a relative path inside the bundle"),
        (manifest({"artifact": "/etc/passwd"}), "'/etc/passwd' must be a relative path inside the bundle"),
        (manifest({"artifact": "a\\b"}), "must be a relative path inside the bundle"),
        (manifest({"artifact": "."}), "must be a relative path inside the bundle"),
        (manifest({"artifact": "é" * 200}), "holds a name of more than 255 bytes"),
        (manifest(card="vallum.yaml"), "manifest: 'vallum.yaml' is the manifest itself"),
        (manifest(card="./vallum.yaml"), "'vallum.yaml' is the manifest itself"),
        (manifest(card="vallum.yaml/card.md"), "lies inside 'vallum.yaml', which is a file and no folder"),
        (manifest(card="model.onnx/card.md"), "'model.onnx/card.md' lies inside 'model.onnx'"),
        (manifest(data={"evaluation": {"file": "e.csv"}}), "data.evaluation.label: is missing"),
        (one_feature(type="text"), "data.features.age.type: input should be 'integer', 'number', 'boolean' or"),
        (one_feature(type="categorical"), "features.age: a categorical feature needs `values: [..]`"),
        (one_feature(type="categorical", values=["1", 1]), "`values` must be distinct"),
        (one_feature(type="integer", values=[1]), "`values` are for a categorical feature, this one is integer"),
        (one_feature(type="number", min=2, max=1), "`min` must not be above `max`, got 2 and 1"),
        (one_feature(type="number", min=float("nan")), "`min` and `max` must be finite"),
        (one_feature(type="number", mutable="maybe"), "mutable: input should be a valid boolean, got 'maybe'"),
        (manifest(lineage={"parent": "adult-income"}), "lineage.parent: string should match pattern"),
        (manifest(lineage={"datasets": [{"name": "a", "sha256": "AB"}]}), "datasets.0.sha256: string should match"),
        (manifest(vendor={"name": "Acme", "contract_expires": "soon"}), "vendor.contract_expires: input should be"),
    ],
)
def test_wrong_manifest_is_refused_in_one_line(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_value_in_a_refusal_is_cut() -> None:
    assert len(refusal(manifest({"owner": "x" * 100_000}))) < 300


def test_a_typing_mistake_is_told_rather_than_the_gap_it_leaves() -> None:
    assert refusal(manifest({"owner": None, "onwer": "me"})) == (
        "manifest: model.onwer: unknown key; did you mean 'owner'? (and 1 more)"
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
KEYS = st.sampled_from([*Manifest.model_fields, *MODEL, "features", "evaluation", "file", "type", "values", "tier"])
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4)
)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_invalid(content: bytes) -> None:
    with pytest.raises(Invalid):
        parse_manifest(content)


@given(st.text(alphabet="{}[]:,-?!&*#|>'\"%@ \n\tab<0=.\\u~", max_size=60))
def test_any_punctuation_of_yaml_is_a_manifest_or_invalid(text: str) -> None:
    with pytest.raises(Invalid):
        parse_manifest(text.encode())


@given(st.dictionaries(KEYS, DOCUMENTS, max_size=5), st.dictionaries(KEYS, DOCUMENTS, max_size=3))
def test_any_document_is_a_manifest_or_invalid(sections: dict[str, Any], model: dict[str, Any]) -> None:
    content = yaml.safe_dump({**sections, "model": {**MODEL, **model}}).encode()
    with contextlib.suppress(Invalid):
        read = parse_manifest(content)
        assert parse_manifest(content) == read


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=3))
def test_mutated_manifest_is_read_or_invalid(place: int, patch: bytes) -> None:
    content = WHOLE.encode()
    with contextlib.suppress(Invalid):
        assert isinstance(parse_manifest(content[:place] + patch + content[place + 1 :]), Manifest)
