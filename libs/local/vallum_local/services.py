"""How each of the five services is started: its command, and everything it is told through its environment.

A service is told only what it needs: the signing key's path goes to compliance alone, addresses of other services to
those that call them. Nothing else of our own environment reaches it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vallum_common.errors import Invalid
from vallum_local.children import Command, clean_environment
from vallum_local.identity import ISSUER, attestation_key, issuer_key, service_token
from vallum_local.ports import Ports, address

ServiceCommand = Callable[[str], tuple[str, ...]]
"""Service name → program and arguments."""


def python_module(name: str) -> tuple[str, ...]:
    """How a service is really started: `python -m vallum_<name>`."""
    return (sys.executable, "-m", f"vallum_{name}")


def default_policies() -> Path:
    """The `policies` folder of the checkout this package was installed from.

    Raises:
        Invalid: it was not installed from a checkout.
    """
    folder = Path(__file__).resolve().parents[3] / "policies"
    if not folder.is_dir():
        raise Invalid(f"no policies in {str(folder)!r}; --policies should name the folder that holds them")
    return folder


@dataclass(frozen=True)
class Surroundings:
    """What the environment of all services is made from.

    Args:
        folder: the platform's, absolute.
        ports: where everything listens.
        kafka: bootstrap address.
        databases: service name → URL of its own database.
        artifacts: URL of the artefact store.
        policies: folder of the policy files.
        inherited: usually `os.environ`.
        command: how a service is started.
    """

    folder: Path
    ports: Ports
    kafka: str
    databases: Mapping[str, str]
    artifacts: str
    policies: Path
    inherited: Mapping[str, str]
    command: ServiceCommand = python_module

    def service(self, name: str) -> Command:
        """How to start one service."""
        environment = clean_environment(self.inherited) | self._common(name) | self._own(name)
        return Command(
            name=name,
            argv=self.command(name),
            environment=environment,
            log=self.folder / "logs" / f"{name}.log",
        )

    def _common(self, name: str) -> dict[str, str]:
        return {
            "VALLUM_GRPC_ADDRESS": address(self.ports.service(name)),
            "VALLUM_KAFKA": self.kafka,
            "VALLUM_DATABASE_URL": self.databases[name],
            "VALLUM_ISSUER": ISSUER,
            "VALLUM_JWKS": str(issuer_key(self.folder).with_suffix(".jwks.json")),
            "VALLUM_TOKEN_FILE": str(service_token(self.folder, name)),
            "VALLUM_DATA_DIR": str(self.folder / name),
            "VALLUM_REFLECTION": "1",
        }

    def _own(self, name: str) -> dict[str, str]:
        signing_key = attestation_key(self.folder)
        policies = self.policies
        match name:
            case "registry":
                # Only the registry reaches the artefact store, so only it may know the store's credentials.
                credentials = {key: value for key, value in self.inherited.items() if key.startswith("AWS_")}
                keys = str(signing_key.with_suffix(".jwks.json"))
                return {"VALLUM_ARTIFACTS_URL": self.artifacts, "VALLUM_ATTESTATION_KEYS": keys, **credentials}
            case "validator":
                return {
                    "VALLUM_REGISTRY_ADDRESS": address(self.ports.service("registry")),
                    "VALLUM_THRESHOLDS": str(policies / "thresholds.yaml"),
                }
            case "risk":
                return {"VALLUM_RISK_MODEL": str(policies / "risk.yaml")}
            case "compliance":
                return {"VALLUM_SIGNING_KEY": str(signing_key), "VALLUM_POLICY": str(policies / "release.yaml")}
            case "monitor":
                return {
                    "VALLUM_CONSOLE_ADDRESS": address(self.ports.console),
                    "VALLUM_CORRECTION_POLICY": str(policies / "correction.yaml"),
                }
        raise Invalid(f"service {name!r} is unknown")
