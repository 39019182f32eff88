"""The whole life of a model, through the command, on a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from . import bundles
from .conftest import RunningPlatform, wait_until

pytestmark = pytest.mark.platform


def short_types(events: list[dict[str, str]]) -> list[str]:
    return [event["type"].rpartition(".")[2] for event in events]


def key_of_compliance(keys: Path) -> SSlibKey:
    """The key verdicts are signed with, read as a stranger would read it."""
    (key,) = json.loads(keys.read_text())["keys"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    return SSlibKey.from_crypto(public, keyid=key["kid"])


def test_from_submission_to_quarantine_by_drift(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    old, new = f"{model_id}@1.0.0", f"{model_id}@1.1.0"
    for version in ("1.0.0", "1.1.0"):
        bundle = bundles.loans(tmp_path / version, model_id, model={"version": version, "tier": "minimal"})
        submitted = platform.vallum("submit", bundle)
        assert submitted.code == 0, submitted.out + submitted.error
        assert submitted.document["verdict"] in {"APPROVED", "APPROVED_WITH_CONDITIONS"}
        assert platform.vallum("deploy", f"{model_id}@{version}", "--environment", "test").code == 0

    attestation = submitted.document["attestation"]
    keys = platform.folder / "keys" / "attestation.jwks.json"
    artifact = tmp_path / "1.1.0" / "model.onnx"
    assert platform.vallum("admission", "verify", artifact, attestation, "--key", keys).code == 0
    stranger = key_of_compliance(keys)
    for signed in (attestation, submitted.document["scan_attestation"]):
        Envelope.from_dict(json.loads(Path(signed).read_text())).verify([stranger], 1)
    materials = platform.vallum("models", "bom", new).document
    assert materials["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    other = tmp_path / "1.1.0" / "evaluation.parquet"
    assert platform.vallum("admission", "verify", other, attestation, "--key", keys).code == 1

    shifted = bundles.people(3000, seed=99).drop(columns=["repaid", "group"]).assign(owner="family")
    shifted["income"] += 25
    traffic = tmp_path / "traffic.parquet"
    shifted.to_parquet(traffic)
    observed = platform.vallum("observe", new, traffic, "--environment", "test")
    assert observed.document["accepted_rows"] == 3000
    wait_until(lambda: platform.vallum("models", "show", new).document["state"] == "QUARANTINED")
    wait_until(lambda: platform.vallum("models", "show", old).document["deployments"][-1]["state"] == "ACTIVE")

    wait_until(lambda: "CorrectionApplied" in short_types(platform.events(model_id)))
    kinds = short_types(platform.events(model_id))
    assert kinds[:4] == ["ModelSubmitted", "ValidationCompleted", "RiskScored", "ComplianceDecided"]
    for kind in ("AlertRaised", "CorrectionRequested", "CorrectionApplied", "InferenceObserved"):
        assert kind in kinds
    assert platform.vallum("deploy", new, "--environment", "test").code == 1
    history = platform.vallum("models", "history", new).document["entries"]
    assert any(entry["to_state"] == "QUARANTINED" and entry["reason"] for entry in history)
    alerts = platform.vallum("alerts", "watch", "--past-only", "--model", model_id).documents
    assert any(alert["confirmed"] for alert in alerts)


def test_traffic_as_it_was_raises_nothing(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id, model={"tier": "minimal"})
    assert platform.vallum("submit", bundle).code == 0
    assert platform.vallum("deploy", f"{model_id}@1.0.0", "--environment", "test").code == 0
    traffic = tmp_path / "traffic.csv"
    bundles.people(3000, seed=123).drop(columns=["repaid", "group"]).to_csv(traffic, index=False)
    assert platform.vallum("observe", f"{model_id}@1.0.0", traffic, "--environment", "test").code == 0
    wait_until(lambda: "InferenceObserved" in short_types(platform.events(model_id)))
    assert platform.vallum("alerts", "watch", "--past-only", "--model", model_id).documents == []
    assert platform.vallum("models", "show", f"{model_id}@1.0.0").document["state"] == "APPROVED"


def test_three_classes_in_one_tensor_go_through(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    answer = platform.vallum("submit", bundles.iris(tmp_path / "b", model_id))
    assert answer.document["verdict"] == "APPROVED_WITH_CONDITIONS"
    shown = platform.vallum("models", "show", f"{model_id}@1.0.0").document
    checks = {check["name"]: check for check in shown["checks"]}
    assert checks["adversarial_robustness"]["outcome"] in {"PASS", "FAIL"}
    assert checks["data_privacy"]["outcome"] == "INCONCLUSIVE"
    assert "members" in checks["data_privacy"]["reason"]
    assert shown["scan"]["verdict"] == "CLEAN"
    assert len(shown["risk"]["risks"]) == 12


def test_a_hostile_pickle_is_refused_and_never_runs(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    marker = tmp_path / "it-ran"
    bundle = bundles.signed_for_another(bundles.hostile(tmp_path / "b", model_id, marker))
    answer = platform.vallum("submit", bundle)
    assert (answer.code, answer.document["verdict"]) == (1, "REJECTED")
    assert {"scan-malicious", "signature-invalid"} <= {reason["rule"] for reason in answer.document["reasons"]}
    assert answer.document["signature"]["outcome"] == "INVALID"
    assert platform.vallum("models", "show", f"{model_id}@1.0.0").document["signature"]["outcome"] == "INVALID"
    entries = platform.vallum("models", "bom", f"{model_id}@1.0.0").document["vulnerabilities"]
    assert "exploitable" in {entry["analysis"]["state"] for entry in entries}
    assert not marker.exists()
    refused = platform.vallum("deploy", f"{model_id}@1.0.0", "--environment", "test")
    assert refused.code == 1
    assert len(refused.error.strip().splitlines()) == 1


def test_submitting_the_same_bundle_again_is_the_same_submission(
    platform: RunningPlatform, tmp_path: Path, model_id: str
) -> None:
    bundle = bundles.iris(tmp_path / "b", model_id)
    first, again = (platform.vallum("submit", bundle) for _ in range(2))
    assert first.document["submission_id"] == again.document["submission_id"]
    assert Counter(short_types(platform.events(model_id)))["ModelSubmitted"] == 1
    bundle.joinpath("evaluation.csv").write_text(bundle.joinpath("evaluation.csv").read_text() + "1,1,1,1,0\n")
    changed = platform.vallum("submit", bundle)
    assert changed.code == 3
    assert "1.0.0" in changed.error


def test_an_event_sent_twice_changes_nothing(platform: RunningPlatform, tmp_path: Path, model_id: str) -> None:
    """Every event of a model's life is put on Kafka a second time, late and out of order."""
    import asyncio

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from vallum_common.bus.topics import all_topics

    assert platform.vallum("submit", bundles.iris(tmp_path / "b", model_id)).document["verdict"]
    wait_until(lambda: len(platform.events(model_id)) >= 4)
    before = platform.vallum("models", "show", f"{model_id}@1.0.0").document
    log = platform.events(model_id)

    async def repeat() -> None:
        consumer = AIOKafkaConsumer(
            *(topic.name for topic in all_topics()), bootstrap_servers=platform.kafka, auto_offset_reset="earliest"
        )
        producer = AIOKafkaProducer(bootstrap_servers=platform.kafka)
        await consumer.start()
        await producer.start()
        found = []
        while len(found) < len(log):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += [record for record in records if record.key == model_id.encode()]
        for record in reversed(found):
            await producer.send_and_wait(record.topic, key=record.key, value=record.value, headers=list(record.headers))
        await consumer.stop()
        await producer.stop()

    asyncio.run(repeat())
    fresh = bundles.loans(tmp_path / "c", f"{model_id}-b")
    assert platform.vallum("submit", fresh).document["verdict"]
    assert platform.events(model_id) == log
    assert platform.vallum("models", "show", f"{model_id}@1.0.0").document == before


@pytest.mark.parametrize("service", ["validator", "registry", "risk", "compliance", "monitor"])
def test_a_service_killed_in_the_middle_costs_nothing(
    platform: RunningPlatform, tmp_path: Path, model_id: str, service: str
) -> None:
    bundle = bundles.loans(tmp_path / "b", model_id)
    assert platform.vallum("submit", bundle, "--no-wait").code == 0
    platform.kill(service)
    answer = None

    def decided() -> bool:
        nonlocal answer
        answer = platform.vallum("submit", bundle, "--timeout", "60")
        return answer.code in (0, 1, 2) and bool(answer.out)

    wait_until(decided)
    assert answer is not None
    assert answer.document["verdict"], answer.error
    wait_until(lambda: len(platform.events(model_id)) >= 4)
    assert Counter(short_types(platform.events(model_id))) == {
        "ModelSubmitted": 1,
        "ValidationCompleted": 1,
        "RiskScored": 1,
        "ComplianceDecided": 1,
    }


def test_metrics_come_with_formula_and_inputs(platform: RunningPlatform) -> None:
    metrics = platform.vallum("metrics").document
    for name in ("security_posture_score", "risk_exposure", "compliance_rate", "incident_response_time_hours"):
        assert set(metrics[name]) == {"value", "formula", "inputs"}
        assert metrics[name]["formula"]


def test_traffic_is_told_apart_from_garbage(platform: RunningPlatform, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    pd.DataFrame({"x": [1]}).to_csv(table, index=False)
    unknown = platform.vallum("observe", "nobody@1", table, "--environment", "test")
    assert unknown.code == 3
    assert len(unknown.error.strip().splitlines()) == 1
