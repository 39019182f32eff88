"""docker-compose.yml and the Dockerfile: specification, walls, settings, pins. No Docker engine is needed."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

import vallum_compliance.config
import vallum_monitor.config
import vallum_registry.config
import vallum_risk.config
import vallum_validator.config
from vallum_common.errors import Invalid
from vallum_common.settings import ServiceSettings, read_settings
from vallum_local import prepare
from vallum_local.identity import ISSUER, prepare_identity
from vallum_local.ports import Ports
from vallum_local.services import Surroundings

from .house import SERVICES

ROOT = Path(__file__).resolve().parent.parent
CONFIGS: Mapping[str, type[ServiceSettings]] = {
    "registry": vallum_registry.config.Config,
    "validator": vallum_validator.config.Config,
    "risk": vallum_risk.config.Config,
    "compliance": vallum_compliance.config.Config,
    "monitor": vallum_monitor.config.Config,
}
Told = Callable[[str, Mapping[str, str]], ServiceSettings]


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
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_validator_alone_may_be_given_a_capability_which_nobody_can_take(compose: dict[str, Any]) -> None:
    """The sandbox needs a call that Docker's default profile opens with it: `test_sandbox_container.py`."""
    given = {name: service["cap_add"] for name, service in compose["services"].items() if "cap_add" in service}
    assert given == {"validator": ["SYS_PTRACE"]}
    assert "user" not in compose["services"]["validator"]
    assert [line for line in (ROOT / "services/Dockerfile").read_text().splitlines() if line.startswith("USER")] == [
        "USER 10001"
    ]


def test_what_a_submission_leaves_is_reaped_and_bounded(compose: dict[str, Any]) -> None:
    validator = compose["services"]["validator"]
    assert validator["init"] is True
    assert 0 < validator["pids_limit"] < 4096


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Call it for the settings a service reads from an environment, and from nothing else."""

    def read(name: str, environment: Mapping[str, str]) -> ServiceSettings:
        for inherited in [key for key in os.environ if key.startswith("VALLUM_")]:
            monkeypatch.delenv(inherited)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        known = {f"VALLUM_{field.upper()}" for field in CONFIGS[name].model_fields}
        unused = {key for key in environment if key.startswith("VALLUM_")} - known - {"VALLUM_SECRETS_DIR"}
        assert not unused, "nobody reads them"
        return read_settings(CONFIGS[name])

    return read


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the job `prepare` leaves for the services; Kafka and PostgreSQL are left out."""

    async def no_topics(*_: object) -> None: ...

    async def urls(_: str, passwords: Mapping[str, str]) -> dict[str, str]:
        return {name: f"postgresql+asyncpg://{name}:secret@postgres/{name}" for name in passwords}

    monkeypatch.setattr(prepare, "create_topics", no_topics)
    monkeypatch.setattr(prepare, "create_service_databases", urls)
    asyncio.run(prepare.prepare(tmp_path, kafka="kafka:9092", database="postgresql://postgres"))
    return tmp_path / "services"


def _files(settings: ServiceSettings) -> Iterable[Path]:
    for name in ("jwks", "token_file", "attestation_keys", "signing_key"):
        if (value := getattr(settings, name, None)) is not None:
            yield Path(value)


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_told_all_it_must_know(compose: dict[str, Any], told: Told, secrets: Path, name: str) -> None:
    inside = {"/run/vallum": str(secrets / name), "/etc/vallum/policies": str(ROOT / "policies")}
    environment = dict(compose["services"][name]["environment"])
    for place, here in inside.items():
        environment = {key: value.replace(place, here) for key, value in environment.items()}
    settings = told(name, environment)
    assert settings.issuer == ISSUER
    assert settings.database_url == f"postgresql+asyncpg://{name}:secret@postgres/{name}"
    assert all(path.is_file() for path in _files(settings))
    policies = [Path(value) for value in environment.values() if value.startswith(str(ROOT / "policies"))]
    assert all(path.is_file() for path in policies)


@pytest.mark.parametrize("name", SERVICES)
def test_each_local_process_is_told_all_it_must_know(told: Told, tmp_path: Path, name: str) -> None:
    prepare_identity(tmp_path, datetime(2026, 11, 23, tzinfo=UTC))
    surroundings = Surroundings(
        folder=tmp_path,
        ports=Ports(),
        kafka="127.0.0.1:7492",
        databases={service: f"postgresql+asyncpg://{service}@127.0.0.1/{service}" for service in SERVICES},
        artifacts=(tmp_path / "artifacts").as_uri(),
        policies=ROOT / "policies",
        inherited={},
    )
    settings = told(name, surroundings.service(name).environment)
    assert settings.issuer == ISSUER
    assert all(path.is_file() for path in _files(settings))


def test_missing_setting_is_found(compose: dict[str, Any], told: Told, secrets: Path) -> None:
    environment = {**compose["services"]["risk"]["environment"], "VALLUM_SECRETS_DIR": str(secrets / "risk")}
    del environment["VALLUM_RISK_MODEL"]
    with pytest.raises(Invalid, match="VALLUM_RISK_MODEL"):
        told("risk", environment)


def test_bundles_are_spooled_to_a_disk(compose: dict[str, Any]) -> None:
    validator = compose["services"]["validator"]
    mounted = {volume.split(":")[1] for volume in validator["volumes"]}
    assert validator["environment"]["TMPDIR"] in mounted


def _pick_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pick_lock", ROOT / "deploy/pick_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _with_all_it_needs(package: str) -> set[str]:
    needed = map(Requirement, importlib.metadata.requires(package) or ())
    names = [entry.name for entry in needed if entry.marker is None or entry.marker.evaluate({"extra": ""})]
    return {package}.union(*map(_with_all_it_needs, names))


def test_images_are_built_by_pinned_tools_only() -> None:
    dockerfile = (ROOT / "services/Dockerfile").read_text()
    (tools,) = re.findall(r"printf '%s==\\n' (.+?) \\\n", dockerfile)
    assert set(tools.split()) == {"uv"} | _with_all_it_needs("hatchling")
    picked = _pick_lock().pick(
        "".join(f"{tool}==\n" for tool in tools.split()), (ROOT / "requirements.lock").read_text()
    )
    assert picked.count("--hash=sha256:") > len(tools.split())
    assert "--no-build-isolation" in dockerfile


def test_the_lock_is_picked_by_name_and_a_gap_is_told() -> None:
    module = _pick_lock()
    lock = (ROOT / "requirements.lock").read_text()
    picked = module.pick("numpy==2.4.6\n-e file:libs/common\nPyYAML==6.0.3\n", lock)
    assert [line.split("==")[0] for line in picked.splitlines() if "==" in line] == ["numpy", "pyyaml"]
    assert picked.count("--hash=sha256:") > 10
    with pytest.raises(SystemExit, match="nothing-here"):
        module.pick("nothing-here==1\n", lock)
