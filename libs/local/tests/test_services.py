"""What each service is told, and what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from vallum_local.ports import SERVICES, Ports
from vallum_local.services import Surroundings, default_policies, python_module

DATA = Path("/data")
POLICIES = Path("/policies")


@pytest.fixture
def surroundings() -> Surroundings:
    return Surroundings(
        folder=DATA,
        ports=Ports(),
        kafka="127.0.0.1:7492",
        databases={name: f"postgresql+asyncpg://{name}@host/{name}" for name in SERVICES},
        artifacts="file:///data/artifacts",
        policies=POLICIES,
        inherited={"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s3", "SSH_AUTH_SOCK": "/agent"},
    )


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_told_where_it_lives(surroundings: Surroundings, name: str) -> None:
    command = surroundings.service(name)
    environment = command.environment

    assert command.argv == python_module(name)
    assert command.argv[1:] == ("-m", f"vallum_{name}")
    assert command.log == DATA / "logs" / f"{name}.log"
    assert environment["VALLUM_GRPC_ADDRESS"] == f"127.0.0.1:{7401 + SERVICES.index(name)}"
    assert environment["VALLUM_KAFKA"] == "127.0.0.1:7492"
    assert environment["VALLUM_DATABASE_URL"] == f"postgresql+asyncpg://{name}@host/{name}"
    assert environment["VALLUM_JWKS"] == "/data/keys/issuer.jwks.json"
    assert environment["VALLUM_ISSUER"] == "vallum-local"
    assert environment["VALLUM_TOKEN_FILE"] == f"/data/tokens/{name}.token"
    assert environment["VALLUM_DATA_DIR"] == f"/data/{name}"
    assert environment["VALLUM_REFLECTION"] == "1"


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (
            "registry",
            {
                "VALLUM_ARTIFACTS_URL": "file:///data/artifacts",
                "VALLUM_ATTESTATION_KEYS": "/data/keys/attestation.jwks.json",
            },
        ),
        (
            "validator",
            {
                "VALLUM_REGISTRY_ADDRESS": "127.0.0.1:7401",
                "VALLUM_THRESHOLDS": "/policies/thresholds.yaml",
                "VALLUM_PUBLISHERS": "/policies/publishers.yaml",
            },
        ),
        ("risk", {"VALLUM_RISK_MODEL": "/policies/risk.yaml"}),
        (
            "compliance",
            {"VALLUM_SIGNING_KEY": "/data/keys/attestation.pem", "VALLUM_POLICY": "/policies/release.yaml"},
        ),
        ("monitor", {"VALLUM_CORRECTION_POLICY": "/policies/correction.yaml"}),
    ],
)
def test_each_service_is_told_what_it_alone_needs(surroundings: Surroundings, name: str, own: dict[str, str]) -> None:
    of_others = [set(surroundings.service(other).environment) for other in SERVICES if other != name]
    environment = surroundings.service(name).environment

    assert own.items() <= environment.items()
    assert not set(own) & set().union(*of_others)


def test_only_the_registry_can_reach_the_artefact_store(surroundings: Surroundings) -> None:
    knowing = [name for name in SERVICES if "AWS_SECRET_ACCESS_KEY" in surroundings.service(name).environment]

    assert knowing == ["registry"]


def test_nothing_else_of_ours_reaches_a_service(surroundings: Surroundings) -> None:
    strangers = {
        key for name in SERVICES for key in surroundings.service(name).environment if not key.startswith("VALLUM_")
    }

    assert strangers == {"PATH", "AWS_SECRET_ACCESS_KEY"}


def test_policies_are_those_of_the_checkout() -> None:
    assert default_policies() == Path(__file__).resolve().parents[3] / "policies"
