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
        own = {
            "registry": {
                "VALLUM_ARTIFACTS_URL": self.artifacts,
                "VALLUM_ATTESTATION_KEYS": str(signing_key.with_suffix(".jwks.json")),
                # Credentials of the artefact store: only the registry reaches it, so only it may know them.
                **{key: value for key, value in self.inherited.items() if key.startswith("AWS_")},
            },
            "validator": {
                "VALLUM_REGISTRY_ADDRESS": address(self.ports.service("registry")),
                "VALLUM_THRESHOLDS": str(self.policies / "thresholds.yaml"),
                "VALLUM_PUBLISHERS": str(self.policies / "publishers.yaml"),
            },
            "risk": {"VALLUM_RISK_MODEL": str(self.policies / "risk.yaml")},
            "compliance": {
                "VALLUM_SIGNING_KEY": str(signing_key),
                "VALLUM_POLICY": str(self.policies / "release.yaml"),
            },
            "monitor": {"VALLUM_CORRECTION_POLICY": str(self.policies / "correction.yaml")},
        }
        return own[name]
