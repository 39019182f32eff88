"""Protobuf and domain: evidence comes back as it was, and an incomplete or hostile submission is refused."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.registry.v1 import events_pb2 as registry_pb2
from vallum.registry.v1 import model_pb2
from vallum.validator.v1 import events_pb2, evidence_pb2, validator_service_pb2
from vallum_common.bundle import parse_manifest
from vallum_common.errors import Invalid
from vallum_common.testing import START, SequentialIds
from vallum_validator import wire
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    Assessment,
    CheckResult,
    Evidence,
    FeatureBaseline,
    Interval,
    Isolation,
    Outcome,
    Report,
    ReportState,
    SignatureMethod,
    SignatureOutcome,
    SignatureReport,
    SignatureScope,
    SubmittedFile,
    Validated,
)
from vallum_validator.domain.findings import FileReport, Finding, ScanReport, ScanVerdict, Severity

from .fakes import ASSESSMENT, DIGEST, MANIFEST, SUBMISSION

TEXTS = st.text(max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
FINDINGS = st.builds(Finding, TEXTS, st.sampled_from(Severity), TEXTS, st.none() | st.just(0) | COUNTS, TEXTS)
FILES = st.builds(
    FileReport, TEXTS, TEXTS, COUNTS, TEXTS, st.sampled_from(ScanVerdict), st.lists(FINDINGS, max_size=2).map(tuple)
)
SCANS = st.builds(ScanReport, st.lists(FILES, max_size=2).map(tuple), TEXTS)
DETAILS = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
CHECKS = st.builds(
    CheckResult,
    name=st.sampled_from(CHECK_NAMES),
    outcome=st.sampled_from(Outcome),
    value=st.none() | st.just(0.0) | NUMBERS,
    interval=st.none() | st.builds(Interval, NUMBERS, NUMBERS),
    confidence=st.floats(0, 1),
    samples=COUNTS,
    method=TEXTS,
    seed=COUNTS,
    reason=TEXTS,
    details=DETAILS,
)
ISOLATIONS = st.none() | st.builds(
    Isolation, TEXTS, st.integers(0, 9), st.booleans(), st.lists(TEXTS, max_size=2).map(tuple)
)
SIGNATURES = st.builds(
    SignatureReport,
    outcome=st.sampled_from(SignatureOutcome),
    publisher=TEXTS,
    method=st.none() | st.sampled_from(SignatureMethod),
    key_id=TEXTS,
    scope=st.none() | st.sampled_from(SignatureScope),
    digest=TEXTS,
    reason=TEXTS,
    publishers_digest=TEXTS,
)
BASELINES = st.builds(
    FeatureBaseline,
    TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple),
    st.lists(NUMBERS, max_size=3).map(tuple),
    st.lists(COUNTS, max_size=3).map(tuple),
)
ASSESSMENTS = st.builds(
    Assessment,
    scan=SCANS,
    checks=st.lists(CHECKS, max_size=2).map(tuple),
    isolation=ISOLATIONS,
    baseline=st.lists(BASELINES, max_size=2).map(tuple),
    thresholds_digest=TEXTS,
    signature=SIGNATURES,
)


@given(ASSESSMENTS)
@settings(max_examples=80, deadline=None)
def test_assessment_comes_back_from_its_bytes(assessment):
    content = wire.assessment_message(assessment).SerializeToString()
    assert wire.assessment_from(events_pb2.ValidationCompleted.FromString(content)) == assessment


@given(
    st.builds(
        Evidence, st.none() | SCANS, st.lists(CHECKS, max_size=2).map(tuple), ISOLATIONS, st.none() | SIGNATURES, TEXTS
    ),
    st.sampled_from(ReportState),
)
@settings(max_examples=40, deadline=None)
def test_evidence_of_a_report_comes_back_from_its_bytes(evidence, state):
    measured = {entry.name: getattr(evidence, entry.name) for entry in fields(evidence)}
    content = wire.report_message(Report(SUBMISSION, state=state, **measured)).SerializeToString()
    read = validator_service_pb2.GetReportResponse.FromString(content)
    assert wire.evidence_from(read) == evidence


def test_an_event_from_before_signatures_were_verified_vouches_for_nothing():
    message = wire.assessment_message(ASSESSMENT)
    message.ClearField("signature")
    assert wire.assessment_from(message).signature.outcome is SignatureOutcome.UNKNOWN


def test_the_formats_a_publisher_may_publish_stay_here():
    report = SignatureReport(SignatureOutcome.VERIFIED, publisher_formats=("onnx",))
    assert wire.signature_from(wire.signature_message(report)).publisher_formats == ()


def test_report_tells_where_the_work_stands():
    report = Report(SUBMISSION, ReportState.RUNNING, "data_privacy", started_at=START)
    message = wire.report_message(report)
    assert (message.submission_id, message.stage, message.model.digest) == ("s-1", "data_privacy", DIGEST)
    assert message.state == validator_service_pb2.REPORT_STATE_RUNNING
    assert message.started_at.ToDatetime(tzinfo=dt.UTC) == START
    assert not message.HasField("completed_at")
    assert not message.HasField("scan")


@pytest.mark.parametrize("offset", [None, 0, 7])
def test_no_offset_is_not_offset_0(offset):
    finding = Finding("rule", Severity.LOW, "", offset, "")
    report = FileReport("a", DIGEST, 1, "pickle", ScanVerdict.UNKNOWN, (finding,))
    assert wire.file_from(wire.file_message(report)).findings[0].offset == offset


def measured(**changes):
    """The check on the wire and back."""
    return wire.check_from(wire.check_message(CheckResult("data_privacy", Outcome.PASS, **changes)))


def test_details_lose_what_json_cannot_write_and_keep_the_rest():
    details = {
        "nan": math.nan,
        "infinite": [math.inf, -math.inf, 1.5],
        "scalars": {
            "float": np.float32(0.5),
            "integer": np.int64(3),
            "truth": np.bool_(True),
            "nan": np.float64("nan"),
        },
        "tuple": (1, "a"),
        7: "a key that is no text",
        "not unicode": "a\udcff",
    }
    assert measured(details=details).details == {
        "nan": None,
        "infinite": [None, None, 1.5],
        "scalars": {"float": 0.5, "integer": 3, "truth": True, "nan": None},
        "tuple": [1, "a"],
        "7": "a key that is no text",
        "not unicode": "a\\udcff",
    }


@pytest.mark.parametrize("value", [np.float64(0.25), np.float32(0.25)])
def test_value_of_numpy_is_a_value(value):
    assert measured(value=value, samples=int(np.int64(3))).value == 0.25


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_value_that_is_no_number_was_not_measured(value):
    """Risk refuses such a number, and with it the whole validation: the submission would never be decided."""
    assert measured(value=value).value is None
    assert measured(value=0.5, interval=Interval(0.0, value)).interval is None
    assert measured(value=0.5, interval=Interval(0.0, value)).value == 0.5


def test_names_that_are_not_unicode_are_told_in_ascii():
    report = FileReport(
        "bad\udcff.bin", "", 0, "unknown", ScanVerdict.UNKNOWN, (Finding("r", Severity.LOW, "\ud800", 0, "\udcff"),)
    )
    read = wire.file_from(wire.file_message(report))
    assert (read.path, read.findings[0].member, read.findings[0].message) == ("bad\\udcff.bin", "\\ud800", "\\udcff")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (wire.check_from, evidence_pb2.CheckResult()),
        (wire.check_from, evidence_pb2.CheckResult(outcome=99)),
        (wire.file_from, evidence_pb2.FileReport()),
        (wire.file_from, evidence_pb2.FileReport(verdict=1, findings=[evidence_pb2.Finding(severity=99)])),
    ],
)
def test_unknown_outcome_is_refused_and_never_taken_for_a_pass(read, message):
    with pytest.raises(Invalid, match="is none of"):
        read(message)


def submitted(**changes):
    """`ModelSubmitted` as the registry sends it."""
    fields = {
        "submission_id": "s-1",
        "model": model_pb2.ModelReference(model="m", version="1", digest=DIGEST),
        "manifest": MANIFEST,
        "files": [model_pb2.BundleFile(path="sub/m.onnx", sha256=DIGEST)],
    }
    return registry_pb2.ModelSubmitted(**{**fields, **changes})


def at(path):
    return [model_pb2.BundleFile(path=path, sha256=DIGEST)]


def test_submission_is_read_as_it_was_sent():
    assert wire.submission_from(submitted(), traceparent="00-t") == replace(SUBMISSION, traceparent="00-t")
    assert SUBMISSION.artifact == SubmittedFile("sub/m.onnx", DIGEST)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"submission_id": ""}, "needs submission_id"),
        ({"model": model_pb2.ModelReference(model="m", version="1")}, "model with version and digest"),
        ({"manifest": b""}, "'s-1' needs manifest and files"),
        ({"files": []}, "'s-1' needs manifest and files"),
        ({"files": [model_pb2.BundleFile(path="m", sha256="cd" * 32)]}, "no file with the model's digest"),
        ({"files": at("../m")}, "'../m', outside the bundle"),
        ({"files": at("/etc/cron.d/m")}, "outside the bundle"),
        ({"files": at("a/../../m")}, "outside the bundle"),
        ({"files": at("")}, "outside the bundle"),
        ({"files": at("a\0b")}, "outside the bundle"),
    ],
)
def test_incomplete_or_hostile_submission_is_refused(changes, said):
    with pytest.raises(Invalid, match=said):
        wire.submission_from(submitted(**changes), traceparent="")


class TestEvent:
    def event(self, manifest, submission=SUBMISSION):
        fact = Validated(submission, manifest, ASSESSMENT, START, START + dt.timedelta(seconds=9))
        return wire.EventWriter(SequentialIds()).event(fact)

    def test_it_continues_the_trace_of_the_submission(self):
        event = self.event(None, replace(SUBMISSION, traceparent="00-t"))
        assert (event.topic.name, event.key, event.subject) == ("validation-completed", "m", "m@1")
        assert (event.traceparent, event.time) == ("00-t", START + dt.timedelta(seconds=9))
        assert event.message.submission_id == "s-1"
        assert wire.assessment_from(event.message) == ASSESSMENT

    def test_it_tells_what_the_manifest_declares(self):
        declared = parse_manifest(
            MANIFEST
            + b"\nvendor: {name: Acme, contract_expires: 2027-06-30}\nsignature: m.sig\n"
            + b"lineage: {datasets: [{name: a}, {name: b, sha256: "
            + b"ab" * 32
            + b"}]}"
        )
        message = self.event(declared).message
        assert (message.tier, message.task, message.has_signature) == ("high", "classification", True)
        assert (message.datasets, message.datasets_with_digest) == (2, 1)
        assert (message.vendor, message.vendor_contract_expires) == ("Acme", "2027-06-30")

    def test_manifest_that_could_not_be_read_declares_nothing(self):
        message = self.event(None).message
        assert (message.tier, message.task, message.vendor, message.datasets) == ("", "", "", 0)
