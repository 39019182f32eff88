"""Makes what risk hears and scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1.model_pb2 import ModelReference as ReferenceMessage
from vallum.validator.v1 import events_pb2, evidence_pb2
from vallum_common.bus.event import Event
from vallum_common.testing import START
from vallum_risk.domain import RISK_NAMES, Evidence, ModelReference, RiskProfile
from vallum_risk.model import RiskModel, score_evidence

POLICY_FILE: Final = Path(__file__).parents[3] / "policies" / "risk.yaml"
DIGEST: Final = "ab" * 32
REFERENCE: Final = ModelReference("adult-income", "1.2.0", DIGEST)
IDENTITY: Final = ((0.0, 0.0), (1.0, 1.0))


class Evidently:
    """Makes what risk hears and scores: a good model at tier high, but for what a test changes."""

    reference = REFERENCE
    policy_file = POLICY_FILE

    @staticmethod
    def message(**changes: str) -> ReferenceMessage:
        """Which bytes."""
        return ReferenceMessage(**{"model": "adult-income", "version": "1.2.0", "digest": DIGEST, **changes})

    @staticmethod
    def check(name: str, value: float | None = 0.1, *, outcome: int = 1, **changes: Any) -> evidence_pb2.CheckResult:
        """The result of a check."""
        interval = evidence_pb2.Interval(low=(value or 0.0) - 0.05, high=(value or 0.0) + 0.05)
        fields = {"value": value, "interval": interval, "confidence": 0.95, **changes}
        return evidence_pb2.CheckResult(
            name=name, outcome=outcome, **{key: field for key, field in fields.items() if field is not None}
        )

    @classmethod
    def validation(cls, **changes: Any) -> events_pb2.ValidationCompleted:
        """A validation."""
        fields = {
            "submission_id": "s-1",
            "model": cls.message(),
            "tier": "high",
            "scan": evidence_pb2.ScanReport(verdict=evidence_pb2.SCAN_VERDICT_CLEAN),
            "checks": [cls.check("adversarial_robustness"), cls.check("bias_fairness", 0.95)],
            **changes,
        }
        return events_pb2.ValidationCompleted(**fields)

    @classmethod
    def alert(cls, **changes: Any) -> monitor_pb2.AlertRaised:
        """A confirmed alert."""
        return monitor_pb2.AlertRaised(**{"alert_id": "a-1", "model": cls.message(), "confirmed": True, **changes})

    @staticmethod
    def event(message: Message, event_id: str, *, key: str = "adult-income") -> Event:
        """An event as the bus hands it over."""
        return Event(event_id, "vallum/test", f"{key}@1.2.0", key, START, message)

    @staticmethod
    def evidence(tier: str = "high", **items: Any) -> Evidence:
        """Evidence; `__` in a name stands for a dot."""
        return Evidence(REFERENCE, "s-1", tier, {name.replace("__", "."): value for name, value in items.items()})

    @staticmethod
    def model(
        bearings: Mapping[str, Mapping[str, tuple[tuple[float, float], ...]]] | None = None, **changes: Any
    ) -> RiskModel:
        """A risk model.

        Args:
            bearings: risk to evidence to scale.
            changes: of the file.
        """
        risks = {
            name: {
                "action": f"act on {name}",
                "evidence": [
                    {"evidence": item, "scale": scale, "source": "this test"}
                    for item, scale in (bearings or {}).get(name, {}).items()
                ],
            }
            for name in RISK_NAMES
        }
        fields = {
            "version": "test",
            "source": "this test",
            "draws": 10_000,
            "severity": {"minimal": 0.4, "limited": 0.7, "high": 1.0},
            "category_weights": (0.5, 0.25, 0.15, 0.1),
            "recommendation_level": 0.7,
            "recommendation_probability": 0.5,
            "signs": {"good": (0.5, 88.5), "bad": (88.5, 0.5)},
            "risks": risks,
            **changes,
        }
        return RiskModel.model_validate(fields)

    @staticmethod
    def profile(model: RiskModel, evidence: Evidence) -> RiskProfile:
        """The score of evidence."""
        return score_evidence(evidence, model, at=START, cause="e-1")
