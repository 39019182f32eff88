"""Protobuf to domain and back: whole both ways, and refused where something is missing."""

from __future__ import annotations

import dataclasses

import pytest

from vallum.compliance.v1 import decision_pb2
from vallum.monitor.v1 import events_pb2 as monitor_pb2
from vallum.registry.v1 import events_pb2, model_pb2
from vallum.registry.v1 import registry_service_pb2 as pb2
from vallum_common.errors import Invalid
from vallum_common.testing import START, SequentialIds
from vallum_registry import wire
from vallum_registry.domain.corrections import CorrectionAction, CorrectionOutcome
from vallum_registry.domain.deployments import Deployment, DeploymentState
from vallum_registry.domain.facts import CorrectionApplied, DeploymentChanged, ModelSubmitted
from vallum_registry.domain.models import Cause, HistoryEntry, ModelReference
from vallum_registry.domain.states import State, Verdict
from vallum_registry.domain.views import Details, Page
from vallum_registry.wire.requests import page_token

DIGEST = "ab" * 32
REFERENCE = ModelReference("adult-income", "1.2.0", DIGEST)
OTHER = ModelReference("adult-income", "1.1.0", "cd" * 32)
DEPLOYMENT = Deployment("d-1", "s-1", REFERENCE, "production", DeploymentState.ACTIVE, START)


async def stream(*requests):
    """Requests as gRPC gives them."""
    for request in requests:
        yield request


class TestUpload:
    def test_header_comes_through_whole(self, given):
        header = given.header()
        message = pb2.SubmitModelRequest(
            header=pb2.UploadHeader(
                upload_id=header.upload_id,
                manifest=header.manifest,
                files=[
                    model_pb2.BundleFile(
                        role=getattr(model_pb2, f"FILE_ROLE_{file.role.name}"),
                        path=file.path,
                        size_bytes=file.size_bytes,
                        sha256=file.sha256,
                    )
                    for file in header.files
                ],
            )
        )
        assert wire.header_from(message) == header

    @pytest.mark.parametrize(
        "message", [None, pb2.SubmitModelRequest(), pb2.SubmitModelRequest(chunk=pb2.UploadChunk(data=b"x"))]
    )
    def test_upload_begins_with_a_header(self, message):
        with pytest.raises(Invalid, match="begins with a header"):
            wire.header_from(message)

    @pytest.mark.parametrize("role", [0, 99])
    def test_file_needs_a_role(self, role):
        header = pb2.UploadHeader(files=[model_pb2.BundleFile(role=role, path="a")])
        with pytest.raises(Invalid, match="'a' has no known role"):
            wire.header_from(pb2.SubmitModelRequest(header=header))

    async def test_chunks_come_through_in_order(self):
        requests = [pb2.SubmitModelRequest(chunk=pb2.UploadChunk(offset=n, data=b"x")) for n in range(3)]
        assert [chunk.offset async for chunk in wire.chunks_from(stream(*requests))] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (pb2.SubmitModelRequest(header=pb2.UploadHeader()), "only chunks may follow"),
            (pb2.SubmitModelRequest(), "only chunks may follow"),
            (pb2.SubmitModelRequest(chunk=pb2.UploadChunk(offset=7)), "chunk at offset 7 is empty"),
        ],
    )
    async def test_nothing_but_chunks_with_bytes_follows(self, message, reason):
        with pytest.raises(Invalid, match=reason):
            await anext(wire.chunks_from(stream(message)))


class TestRequests:
    def test_version_needs_both_names(self):
        assert wire.version_from(pb2.GetModelRequest(model="m", version="1")) == ModelReference("m", "1")
        for request in (pb2.GetModelRequest(model="m"), pb2.GetModelRequest(version="1")):
            with pytest.raises(Invalid, match="is missing"):
                wire.version_from(request)
        assert wire.model_or_version_from(pb2.GetHistoryRequest(model="m")) == ModelReference("m", "")

    @pytest.mark.parametrize("field", ["model", "version"])
    def test_text_the_database_cannot_keep_is_refused(self, field):
        request = pb2.GetModelRequest(**{"model": "m", "version": "1", field: "a\x00b"})
        with pytest.raises(Invalid, match=f"{field} .* must not hold a zero character"):
            wire.version_from(request)
        with pytest.raises(Invalid, match="reason"):
            wire.cause_from("actor", "a\x00b")

    @pytest.mark.parametrize("digest", ["", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "../" * 21 + "a"])
    def test_digest_is_64_hex(self, digest):
        with pytest.raises(Invalid, match="is not 64 lower-case hex digits"):
            wire.checked_sha256(digest)

    @pytest.mark.parametrize(("asked", "given_size"), [(0, 100), (1, 1), (500, 500)])
    def test_page_size_has_a_default(self, asked, given_size):
        assert wire.list_request_from(pb2.ListModelsRequest(page_size=asked)).size == given_size

    @pytest.mark.parametrize("size", [-1, 501])
    def test_page_size_has_a_bound(self, size):
        with pytest.raises(Invalid, match="page_size must be 0 to 500"):
            wire.list_request_from(pb2.ListModelsRequest(page_size=size))

    @pytest.mark.parametrize("before", [0, 1, 12345, 2**63 - 1])
    def test_page_token_comes_back(self, before):
        request = pb2.ListModelsRequest(page_token=page_token(before))
        assert wire.list_request_from(request).before == before

    @pytest.mark.parametrize("token", ["x", "MTIz", "%%%", "é", page_token(7)[:-2], "_" * 11 + "="])
    def test_token_that_is_not_ours_is_refused(self, token):
        with pytest.raises(Invalid, match="is not one this service gave"):
            wire.list_request_from(pb2.ListModelsRequest(page_token=token))


class TestAnswers:
    async def test_version_is_told_whole(self, registry):
        submission = await registry.approved()
        message = wire.details_message(Details(submission, (DEPLOYMENT,)))
        assert [field.name for field, _ in message.ListFields()] == [
            field.name
            for field in message.DESCRIPTOR.fields
            if field.name not in ("verdict", "intended_use", "attestation")
        ]
        decided = (await registry.catalogue.get(submission.reference)).submission
        message = wire.details_message(Details(decided, ()))
        assert message.verdict == "APPROVED"
        assert message.attestation == decided.attestation
        assert message.deployments == []

    async def test_list_says_what_serves(self, registry):
        submission = await registry.submit()
        ended = dataclasses.replace(DEPLOYMENT, environment="test", state=DeploymentState.SUPERSEDED)
        message = wire.page_message(Page((Details(submission, (DEPLOYMENT, ended)),), 7))
        assert message.models[0].active_environments == ["production"]
        assert message.next_page_token == page_token(7)
        assert wire.page_message(Page((), None)).next_page_token == ""

    @pytest.mark.parametrize("before", [None, *State])
    def test_history_keeps_every_state(self, before):
        entry = HistoryEntry(REFERENCE, START, Cause("a", "r"), "moved", before, State.APPROVED, "production")
        told = wire.history_message([entry]).entries[0].entry
        name = model_pb2.ModelState.Name(told.from_state)
        assert name == f"MODEL_STATE_{before.name if before else 'UNSPECIFIED'}"
        assert (told.actor, told.reason, told.action, told.environment) == ("a", "r", "moved", "production")


class TestEventsOut:
    async def test_submission_is_told_whole_and_keyed_by_model(self, registry, given):
        submission = await registry.submit()
        event = wire.EventWriter(SequentialIds()).event(ModelSubmitted(submission, given.manifest()))
        assert (event.source, event.subject, event.key) == ("vallum/registry", "adult-income@1.0.0", "adult-income")
        assert event.time == submission.submitted_at
        assert len(event.message.ListFields()) == len(event.message.DESCRIPTOR.fields)

    @pytest.mark.parametrize("state", DeploymentState)
    def test_deployment_is_told_whole(self, state):
        fact = DeploymentChanged(dataclasses.replace(DEPLOYMENT, state=state), OTHER, Cause("a", "r"))
        message = wire.EventWriter(SequentialIds()).event(fact).message
        assert len(message.ListFields()) == len(message.DESCRIPTOR.fields)
        assert model_pb2.DeploymentState.Name(message.state) == f"DEPLOYMENT_STATE_{state.name}"
        assert message.other.version == "1.1.0"

    def test_deployment_without_another_leaves_it_unset(self):
        message = wire.EventWriter(SequentialIds()).event(DeploymentChanged(DEPLOYMENT, None, Cause("a"))).message
        assert not message.HasField("other")

    @pytest.mark.parametrize("outcome", CorrectionOutcome)
    def test_correction_is_told_whole(self, given, outcome):
        fact = CorrectionApplied(given.correction(reference=REFERENCE), outcome, "done", START)
        message = wire.EventWriter(SequentialIds()).event(fact).message
        assert len(message.ListFields()) == len(message.DESCRIPTOR.fields)
        assert events_pb2.CorrectionOutcome.Name(message.outcome) == f"CORRECTION_OUTCOME_{outcome.name}"


def decided(**changes):
    """A verdict as compliance sends it."""
    fields = {
        "submission_id": "s-1",
        "model": model_pb2.ModelReference(model="m", version="1", digest=DIGEST),
        "verdict": decision_pb2.VERDICT_APPROVED,
        "policy_digest": "ef" * 32,
        "attestation": b"{}",
        **changes,
    }
    return decision_pb2.ComplianceDecided(**fields)


def requested(**changes):
    """A correction as the monitor sends it."""
    fields = {
        "correction_id": "c-1",
        "model": model_pb2.ModelReference(model="m", version="1"),
        "environment": "production",
        "action": monitor_pb2.CORRECTION_ACTION_ROLLBACK,
        "reason": "drift",
        **changes,
    }
    return monitor_pb2.CorrectionRequested(**fields)


class TestEventsIn:
    @pytest.mark.parametrize("verdict", Verdict)
    def test_verdict_is_read_with_the_rules_that_fired(self, verdict):
        reasons = [decision_pb2.Reason(rule="scan"), decision_pb2.Reason(rule="drift")]
        decision = wire.decision_from(
            decided(verdict=getattr(decision_pb2, f"VERDICT_{verdict.name}"), reasons=reasons)
        )
        assert decision.verdict is verdict
        assert decision.summary == f"policy {'ef' * 32}: scan, drift"
        assert decision.digest == DIGEST

    @pytest.mark.parametrize(
        "changes", [{"submission_id": ""}, {"verdict": 0}, {"verdict": 99}, {"model": None}, {"submission_id": "\x00"}]
    )
    def test_verdict_that_is_not_whole_is_refused(self, changes):
        with pytest.raises(Invalid):
            wire.decision_from(decided(**changes))

    @pytest.mark.parametrize("action", CorrectionAction)
    def test_correction_is_read(self, action):
        message = requested(action=getattr(monitor_pb2, f"CORRECTION_ACTION_{action.name}"), alert_id="a-1")
        correction = wire.correction_from(message)
        assert correction.action is action
        assert (correction.reference.name, correction.alert_id, correction.reason) == ("m@1", "a-1", "drift")

    @pytest.mark.parametrize(
        "changes",
        [
            {"correction_id": ""},
            {"action": 0},
            {"action": 99},
            {"model": None},
            {"reason": "\x00"},
            {"alert_id": "\x00"},
        ],
    )
    def test_correction_that_is_not_whole_is_refused(self, changes):
        with pytest.raises(Invalid):
            wire.correction_from(requested(**changes))

    def test_reason_that_is_too_long_is_cut_not_refused(self):
        assert wire.correction_from(requested(reason="x" * 5000)).reason == "x" * 999 + "…"
