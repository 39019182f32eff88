"""Tensors in files that are no zip: as torch wrote them before 1.6, and in pickles of other things."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_file

from .corpus.assembly import Call, Name, Raw, new, push, stream, text


def persistent(kind: str, key: str) -> bytes:
    return b"(" + text("storage") + push(Name(f"torch:{kind}")) + text(key) + text("cpu") + b"K\x01NtQ"


def legacy(model: bytes, storages: dict[str, bytes]) -> bytes:
    """Magic number, protocol, system, the model, the keys in order, and each storage with its count."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    keys = b"".join(b"X" + struct.pack("<I", len(key)) + key.encode() for key in storages)
    head = magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + b"\x80\x04" + model + b"." + b"\x80\x02](" + keys + b"e."
    return head + b"".join(struct.pack("<Q", 1) + content for content in storages.values())


MODEL = b"(" + persistent("FloatStorage", "11") + persistent("LongStorage", "12") + b"t"
STORAGES = {"11": bytes(4), "12": bytes(8)}


def scanned(folder: Path, data: bytes) -> FileReport:
    file = folder / "model.pt"
    file.write_bytes(data)
    return scan_file(file)


def test_storages_of_one_element_each_are_told_apart_by_the_order_of_their_keys(tmp_path: Path) -> None:
    assert scanned(tmp_path, legacy(MODEL, STORAGES)).findings == ()
    assert scanned(tmp_path, legacy(MODEL, {"12": bytes(4), "11": bytes(8)})).verdict is ScanVerdict.UNKNOWN
    assert scanned(tmp_path, legacy(MODEL, {**STORAGES, "13": bytes(4)})).verdict is ScanVerdict.UNKNOWN


def test_class_of_a_module_whose_source_lies_beside_it_is_the_listed_class(tmp_path: Path) -> None:
    listed, other = Name("torch.nn.modules.linear:Linear"), Name("somewhere:Linear")
    for cls, verdict in ((listed, ScanVerdict.CLEAN), (other, ScanVerdict.UNKNOWN)):
        module = b"(" + text("module") + push(cls) + text("a.py") + text("class Linear: pass") + b"tQ)\x81"
        assert scanned(tmp_path, legacy(module, {})).verdict is verdict


@pytest.mark.parametrize("protocol_2", [False, True])
def test_tensor_in_a_pickle_is_scanned_as_the_file_it_is(tmp_path: Path, protocol_2: bool) -> None:
    def held(content: bytes) -> bytes:
        argument = Call("_codecs:encode", content.decode("latin-1"), "latin1") if protocol_2 else content
        return stream(Call("torch.storage:_load_from_bytes", argument))

    assert scanned(tmp_path, held(legacy(MODEL, STORAGES))).verdict is ScanVerdict.CLEAN
    hostile = legacy(push(Call("os:system", "id")), {})
    assert scanned(tmp_path, held(hostile)).verdict is ScanVerdict.MALICIOUS
    assert scanned(tmp_path, held(b"no tensor")).verdict is ScanVerdict.UNKNOWN


def test_large_tensor_in_a_pickle_is_scanned_where_it_lies(tmp_path: Path) -> None:
    def binary(content: bytes) -> bytes:
        return b"B" + struct.pack("<I", len(content)) + content

    ballast = binary(bytes(100_000))

    def held(model: bytes) -> bytes:
        content = legacy(model, {})
        return stream(Raw(push(Name("torch.storage:_load_from_bytes")) + binary(content) + b"\x85R"))

    assert scanned(tmp_path, held(ballast)).verdict is ScanVerdict.CLEAN
    hostile = held(push(Call("os:system", "id")) + b"0" + ballast)
    assert scanned(tmp_path, hostile).verdict is ScanVerdict.MALICIOUS


def test_schedule_that_keeps_a_private_method_of_its_own_is_no_attack(tmp_path: Path) -> None:
    schedule = new("torch.optim.lr_scheduler:StepLR")
    private = stream(Call("builtins:getattr", schedule, "_annealing_cos"))
    assert scanned(tmp_path, private).verdict is ScanVerdict.UNKNOWN
    internal = stream(Call("builtins:getattr", schedule, "__init__"))
    assert scanned(tmp_path, internal).verdict is ScanVerdict.MALICIOUS


def test_inputs_of_a_traced_module_are_storages(tmp_path: Path) -> None:
    module, inputs = b"\x80\x02}.", b"\x80\x02" + persistent("FloatStorage", "0") + b"."
    members = {"data.pkl": module, "constants.pkl": module, "traced_inputs.pkl": inputs, "version": b"3\n"}
    verdicts = []
    for content in (b"", bytes(4), stream(Call("os:system", "id"))):
        with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
            for name, data in {**members, "traced_inputs/0": content}.items():
                archive.writestr(f"m/{name}", data)
        verdicts.append(scan_file(tmp_path / "model.pt").verdict)
    assert verdicts == [ScanVerdict.CLEAN, ScanVerdict.CLEAN, ScanVerdict.MALICIOUS]


EMPTY = Call("collections:OrderedDict")


def tensor(key: str, kind: str = "FloatStorage") -> Call:
    return Call("torch._utils:_rebuild_tensor_v2", Raw(persistent(kind, key)), 0, (1,), (1,), False, EMPTY)


WEIGHT = Call("torch._utils:_rebuild_parameter", tensor("11"), True, EMPTY)
STEPS = {"step": tensor("12", "LongStorage"), "betas": (0.9, 0.99), "device": Call("torch:device", "cpu")}
KEPT = Raw(push(Call("collections:defaultdict", Name("builtins:dict"))) + push(WEIGHT) + push(STEPS) + b"s")
ADAM = {"defaults": {"lr": 0.1}, "state": KEPT, "param_groups": [{"params": [WEIGHT], "dtype": Name("torch:float32")}]}
GROUP = Call("collections:defaultdict", Name("sklearn.ensemble._forest:RandomForestClassifier"))
STRANGERS: dict[str, Any] = {
    "frame for a group": {**ADAM, "param_groups": [new("pandas:DataFrame")]},
    "group that makes what it is asked for": {**ADAM, "param_groups": [GROUP]},
    "parameter of another kind": {**ADAM, "param_groups": [{"params": [new("pandas:Series")]}]},
    "state of another kind": {**ADAM, "state": new("sklearn.utils._bunch:Bunch")},
    "step that is a number of its own": {**ADAM, "state": {1: {"step": new("pandas:Series")}}},
    "hook": {**ADAM, "_optimizer_step_pre_hooks": {1: Name("torch.nn.functional:relu")}},
    "attribute of a parameter": {**ADAM, "param_groups": [{"params": [Raw(push(WEIGHT) + push({"a": EMPTY}) + b"b")]}]},
    "pairs": [("defaults", {}), ("state", KEPT)],
    "dict of a kind of its own": EMPTY,
}


def test_whole_optimiser_is_clean(tmp_path: Path) -> None:
    assert scanned(tmp_path, legacy(push(new("torch.optim.adam:Adam", state=ADAM)), STORAGES)).findings == ()


@pytest.mark.parametrize("name", STRANGERS)
def test_optimiser_that_would_ask_anything_but_data_is_not_clean(name: str, tmp_path: Path) -> None:
    model = push([WEIGHT, tensor("12", "LongStorage"), new("torch.optim.adam:Adam", state=STRANGERS[name])])
    found = scanned(tmp_path, legacy(model, STORAGES))
    assert found.verdict is not ScanVerdict.CLEAN
    assert any("torch.optim.adam.Adam" in finding.message for finding in found.findings)


@pytest.mark.parametrize(
    "kept",
    [
        new("argparse:Namespace", state={"dtype": Name("torch:float16"), "act": Name("torch._C._nn:gelu")}),
        new("torch.torch_version:TorchVersion", "2.7.1"),
        {new("torch.torch_version:TorchVersion", "2.7.1"): 1},
        Call("builtins:getattr", Name("torch._C:_VariableFunctionsClass"), "relu"),
        Call("builtins:getattr", Name("torch.optim.lr_scheduler:CyclicLR"), "_triangular_scale_fn"),
    ],
)
def test_what_trainers_keep_beside_the_weights_is_clean(kept: Any, tmp_path: Path) -> None:
    assert scanned(tmp_path, legacy(push([kept, WEIGHT, STEPS]), STORAGES)).findings == ()


@pytest.mark.parametrize(
    "taken",
    [
        Call("builtins:getattr", Name("torch._C:_VariableFunctionsClass"), "from_file"),
        Call("torch._C:_VariableFunctionsClass", 1),
        new("torch.torch_version:TorchVersion", new("pandas:Series")),
        Raw(push(new("argparse:Namespace")) + push("a") + push(1) + b"s"),
        new("argparse:Namespace", state=(None, {"__class__": Name("pandas:Index")})),
        Call("argparse:Namespace"),
    ],
)
def test_what_no_trainer_keeps_is_not_clean(taken: Any, tmp_path: Path) -> None:
    assert scanned(tmp_path, legacy(push([taken, WEIGHT, STEPS]), STORAGES)).verdict is not ScanVerdict.CLEAN
