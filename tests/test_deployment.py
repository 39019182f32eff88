"""docker-compose.yml against the Compose Specification, and the walls it must keep. No Docker engine is needed."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from .house import SERVICES

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_file_is_what_the_specification_says(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    jsonschema.validate(compose, schema)


def test_the_schema_finds_a_planted_mistake(compose: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose, "services": {"kafka": {"imagee": "x"}}}, schema)


def test_all_that_is_used_is_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name
        named = {volume.split(":")[0] for volume in service.get("volumes", ())}
        assert named <= set(compose["volumes"]), name


def test_only_declared_flows_share_a_network(compose: dict[str, Any]) -> None:
    flows = {frozenset(("validator", "registry")), frozenset(("kafka", "prepare")), frozenset(("postgres", "prepare"))}
    flows |= {frozenset((name, part)) for name in SERVICES for part in ("kafka", "postgres")}
    members = {
        network: [name for name, service in compose["services"].items() if network in service["networks"]]
        for network in compose["networks"]
    }
    meetings = {frozenset(pair) for found in members.values() for pair in itertools.combinations(found, 2)}
    assert meetings == flows
    assert all(len(found) <= 2 for found in members.values())
    inside = [network for network in compose["networks"] if not network.startswith("clients-")]
    assert all(compose["networks"][network].get("internal") for network in inside)


def test_each_service_sees_its_own_secrets_only_and_compliance_alone_signs(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        service = compose["services"][name]
        secrets = [volume for volume in service["volumes"] if volume.startswith("secrets")]
        assert secrets == [f"secrets-{name}:/run/vallum:ro"]
        assert ("VALLUM_SIGNING_KEY" in service["environment"]) == (name == "compliance")
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_the_lock_is_picked_by_name_and_a_gap_is_told() -> None:
    spec = importlib.util.spec_from_file_location("pick_lock", ROOT / "deploy/pick_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lock = (ROOT / "requirements.lock").read_text()
    picked = module.pick("numpy==2.4.6\n-e file:libs/common\nPyYAML==6.0.3\n", lock)
    assert [line.split("==")[0] for line in picked.splitlines() if "==" in line] == ["numpy", "pyyaml"]
    assert picked.count("--hash=sha256:") > 10
    with pytest.raises(SystemExit, match="nothing-here"):
        module.pick("nothing-here==1\n", lock)
