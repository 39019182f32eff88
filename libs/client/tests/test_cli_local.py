"""`vallum scan` and `vallum checks run`: no server, and exit codes that tell what was found."""

from __future__ import annotations

import html
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import yaml
from onnx import TensorProto, helper

from vallum_validator.domain.evidence import CHECK_NAMES

ROWS = 1_500


class Runs:
    """Would run a command when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch marker",)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A clean, a hostile and an unknown file."""
    np.save(tmp_path / "clean.npy", np.arange(12.0))
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Runs()))
    (tmp_path / "unknown.bin").write_bytes(bytes(range(256)) * 3)
    return tmp_path


class TestScan:
    @pytest.mark.parametrize(
        ("names", "code"),
        [
            (["clean.npy"], 0),
            (["hostile.pkl"], 1),
            (["unknown.bin"], 2),
            (["clean.npy", "unknown.bin"], 2),
            (["unknown.bin", "clean.npy", "hostile.pkl"], 1),
        ],
    )
    def test_worst_file_decides_the_code(self, vallum, files, names, code):
        assert vallum("scan", *names).code == code

    def test_nothing_is_loaded(self, vallum, files):
        vallum("scan", "hostile.pkl")
        assert not (files / "marker").exists()

    def test_json_holds_what_is_promised(self, vallum, files):
        typed = vallum("scan", "clean.npy", "hostile.pkl", "--json")
        clean, hostile = typed.document["files"]
        assert (clean["path"], clean["format"], clean["verdict"], clean["findings"]) == (
            "clean.npy",
            "npy",
            "CLEAN",
            [],
        )
        assert len(clean["sha256"]) == 64
        assert hostile["verdict"] == "MALICIOUS"
        for finding in hostile["findings"]:
            assert set(finding) >= {"rule", "severity", "member", "offset", "message"}
        assert any(finding["severity"] == "CRITICAL" for finding in hostile["findings"])
        assert vallum("scan", "clean.npy", "hostile.pkl", "--format", "json").out == typed.out

    def test_output_fits_80_columns(self, vallum, files):
        typed = vallum("scan", "clean.npy", "hostile.pkl", "unknown.bin")
        assert [line.split()[0] for line in typed.out.splitlines() if line[0] != " "] == [
            "CLEAN",
            "MALICIOUS",
            "UNKNOWN",
        ]
        assert max(map(len, typed.out.splitlines())) <= 80

    @pytest.mark.parametrize("name", [b"bad\xff.bin", b"a[/red].bin", b"[green]CLEAN[/green].bin", b"a\nCLEAN.bin"])
    def test_odd_names_are_shown_as_they_are(self, vallum, files, name):
        path = files / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        (files / "unknown.bin").rename(path)
        typed = vallum("scan", os.fsdecode(name))
        assert (typed.code, typed.error) == (2, "")
        assert [line[:8] for line in typed.out.splitlines() if line[0] != " "] == ["UNKNOWN "]
        assert vallum("scan", os.fsdecode(name), "--json").document["files"][0]["verdict"] == "UNKNOWN"

    @pytest.mark.parametrize(
        ("words", "said"), [(["nothing.bin"], "'nothing.bin'"), (["clean.npy", "--format", "xml"], "got 'xml'")]
    )
    def test_wrong_use_is_3(self, vallum, files, words, said):
        typed = vallum("scan", *words)
        assert (typed.code, typed.out) == (3, "")
        assert said in typed.error


def threshold_model() -> bytes:
    """An ONNX model of two inputs that says `yes` where the second, the group, is 1: as unfair as can be."""
    nodes = [
        helper.make_node("MatMul", ["X", "pick"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    constants = [
        helper.make_tensor("pick", TensorProto.FLOAT, [2, 1], [0.2, 4.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def table(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": random.normal(size=ROWS), "group": random.choice(["a", "b"], ROWS)})
    return frame.assign(y=((frame["group"] == "b") ^ (random.random(ROWS) < 0.1)).astype(int))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A model that decides by the group alone, and remembers nothing."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for seed, name in enumerate(("evaluation", "members", "population")):
        table(seed).to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "model.onnx").write_bytes(threshold_model())
    features = {"x": {"type": "number"}, "group": {"type": "categorical", "values": ["a", "b"]}}
    data = {name: {"file": f"{name}.parquet"} for name in ("members", "population")}
    document = {
        "model": {"id": "by-group", "version": "1.0.0", "artifact": "model.onnx", "owner": "tests"},
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": "y", "positive": 1},
            **data,
            "sensitive": ["group"],
            "features": features,
        },
    }
    (folder / "vallum.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


@pytest.fixture
def empty_bundle(tmp_path: Path) -> Path:
    """A model alone, in a format that is not run."""
    folder = tmp_path / "empty"
    folder.mkdir()
    np.save(folder / "model.npy", np.arange(3.0))
    (folder / "vallum.yaml").write_text("model: {id: m, version: '1', artifact: model.npy, owner: me}")
    return folder


class TestChecks:
    def test_fair_enough_is_0_and_unfair_is_1(self, vallum, bundle):
        typed = vallum("checks", "run", bundle, "--check", "data_privacy")
        assert (typed.code, typed.out.split()[:2]) == (0, ["PASS", "data_privacy"])
        typed = vallum("checks", "run", bundle, "--check", "bias_fairness", "--json")
        assert typed.code == 1
        (check,) = typed.document["checks"]
        assert set(check) >= {
            "name", "outcome", "value", "interval", "confidence", "samples", "method", "seed", "reason", "details"
        }  # fmt: skip
        assert (check["name"], check["outcome"]) == ("bias_fairness", "FAIL")
        assert check["interval"][0] <= check["value"] <= check["interval"][1]
        assert isinstance(check["samples"], int)
        assert isinstance(check["seed"], int)
        # Protobuf keeps names in an order of its own for each process; what is printed repeats byte for byte.
        assert len(check["details"]) > 5
        assert list(check["details"]) == sorted(check["details"])
        assert list(check["details"]["families"][0]) == sorted(check["details"]["families"][0])
        # Its struct has one kind of number, and rows came out as 750.0.
        assert all(isinstance(group["rows"], int) for group in check["details"]["families"][0]["groups"])

    def test_what_could_not_be_told_is_2_and_says_what_is_missing(self, vallum, empty_bundle):
        typed = vallum("checks", "run", empty_bundle, "--json")
        assert typed.code == 2
        assert [check["name"] for check in typed.document["checks"]] == list(CHECK_NAMES)
        assert {check["outcome"] for check in typed.document["checks"]} == {"INCONCLUSIVE"}
        assert all(check["reason"] for check in typed.document["checks"])
        assert {(check["value"], check["interval"]) for check in typed.document["checks"]} == {(None, None)}

    def test_a_report_is_a_page_with_the_same_evidence(self, vallum, bundle, tmp_path):
        page = tmp_path / "new" / "page.html"
        typed = vallum("checks", "run", bundle, "--check", "bias_fairness", "--report", page, "--json")
        assert (typed.code, len(typed.document["checks"])) == (1, 1)
        written = page.read_text()
        assert written.count("<figure>") >= 1
        assert typed.document["checks"][0]["reason"] in html.unescape(written)

    def test_output_fits_80_columns(self, vallum, empty_bundle):
        typed = vallum("checks", "run", empty_bundle)
        assert [line.split()[1] for line in typed.out.splitlines() if line[0] != " "] == list(CHECK_NAMES)
        assert max(map(len, typed.out.splitlines())) <= 80

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["nothing"], "no bundle at 'nothing'"),
            (["."], "vallum.yaml"),
            (["empty", "--check", "fairness"], "no check 'fairness'; the checks are adversarial_robustness"),
            (["empty", "--thresholds", "nothing.yaml"], "nothing.yaml"),
            (["empty", "--report", "empty/model.npy/page.html"], "the report cannot be written"),
        ],
    )
    def test_wrong_use_is_3(self, vallum, empty_bundle, words, said):
        typed = vallum("checks", "run", *words)
        assert (typed.code, typed.out) == (3, "")
        assert said in typed.error
        assert typed.error.count("\n") == 1
