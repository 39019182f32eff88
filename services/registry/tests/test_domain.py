"""The rules: which state follows which, who serves again, and what an upload must bring."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from vallum_common.bundle import BundleFile, Role
from vallum_common.errors import Conflict, Exhausted, Invalid
from vallum_registry.domain.deployments import Deployment, DeploymentState, good_before
from vallum_registry.domain.models import ModelReference
from vallum_registry.domain.states import MOVES, Standing, State, Trigger, Verdict
from vallum_registry.domain.uploads import Content, UploadHeader, UploadLimits, plan_upload
from vallum_registry.service.content import ContentCheck

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
VERDICTS = {Trigger.APPROVAL: "APPROVED", Trigger.REFUSAL: "REJECTED", Trigger.REFERRAL: "NEEDS_REVIEW"}


class TestStates:
    @pytest.mark.parametrize(("trigger", "state"), VERDICTS.items())
    def test_first_verdict_decides(self, trigger, state):
        assert Standing().after(trigger) == Standing(State(state))

    @pytest.mark.parametrize(("first", "second"), list(product(VERDICTS, repeat=2)))
    def test_second_verdict_changes_nothing(self, first, second):
        decided = Standing().after(first)
        assert decided.after(second) == decided

    @pytest.mark.parametrize("state", [state for state in State if state is not State.QUARANTINED])
    def test_quarantine_hides_any_state_and_release_uncovers_it(self, state):
        barred = Standing(state).after(Trigger.QUARANTINE)
        assert barred == Standing(State.QUARANTINED, hidden=state)
        assert barred.after(Trigger.QUARANTINE) == barred
        assert barred.after(Trigger.RELEASE) == Standing(state)

    def test_late_verdict_moves_what_the_quarantine_hides(self):
        barred = Standing().after(Trigger.QUARANTINE).after(Trigger.REFUSAL)
        assert barred == Standing(State.QUARANTINED, hidden=State.REJECTED)
        assert barred.after(Trigger.APPROVAL) == barred

    def test_release_without_quarantine_changes_nothing(self):
        assert Standing().after(Trigger.RELEASE) == Standing()

    def test_each_verdict_has_a_move(self):
        assert {verdict.trigger for verdict in Verdict} == {trigger for _, trigger in MOVES} - {Trigger.QUARANTINE}

    @for_all(st.lists(st.sampled_from(Trigger)))
    def test_quarantined_if_and_only_if_something_is_hidden_and_no_verdict_is_ever_taken_back(self, triggers):
        standing = Standing()
        verdicts = []
        for trigger in triggers:
            standing = standing.after(trigger)
            verdicts.append(standing.hidden or standing.state)
            assert (standing.state is State.QUARANTINED) == (standing.hidden is not None)
        first = next((state for state in verdicts if state is not State.SUBMITTED), State.SUBMITTED)
        assert set(verdicts) <= {State.SUBMITTED, first}


def deployment(version: str, state: DeploymentState = DeploymentState.SUPERSEDED) -> Deployment:
    """A deployment of a version."""
    return Deployment(f"d-{version}-{state}", f"s-{version}", ModelReference("m", version), "production", state, NOW)


class TestGoodBefore:
    def test_latest_that_was_superseded_comes_first(self):
        deployments = [deployment("1"), deployment("2"), deployment("3", DeploymentState.ACTIVE)]
        assert [d.reference.version for d in good_before(deployments, ModelReference("m", "3"))] == ["2", "1"]

    @pytest.mark.parametrize("end", [DeploymentState.ROLLED_BACK, DeploymentState.QUARANTINED])
    def test_version_that_ended_badly_last_is_not_good_however_well_it_began(self, end):
        deployments = [deployment("1"), deployment("2"), deployment("2", end), deployment("3", DeploymentState.ACTIVE)]
        assert [d.reference.version for d in good_before(deployments, ModelReference("m", "3"))] == ["1"]

    def test_version_that_leaves_is_never_its_own_successor(self):
        deployments = [deployment("1"), deployment("1", DeploymentState.ACTIVE)]
        assert list(good_before(deployments, ModelReference("m", "1"))) == []

    def test_deployment_ends_once(self):
        ended = deployment("1", DeploymentState.ACTIVE).ended(DeploymentState.ROLLED_BACK, NOW)
        for state in DeploymentState:
            with pytest.raises(Conflict):
                ended.ended(state, NOW)


class TestPlan:
    def test_contents_follow_each_other_in_the_order_of_the_files(self, given, limits):
        plan = plan_upload(given.header(), limits)
        assert [(c.name, c.offset, c.size_bytes) for c in plan.contents] == [
            ("model.onnx", 0, 200),
            ("evaluation.csv", 200, 8),
            ("members.csv", 208, 8),
        ]
        assert plan.total_bytes == 216

    def test_content_under_two_roles_is_sent_once_at_its_first_place(self, given, limits):
        contents = given.contents(evaluation=b"same", members=b"same")
        plan = plan_upload(given.header(contents=contents), limits)
        assert [c.name for c in plan.contents] == ["model.onnx", "evaluation.csv"]
        assert plan.total_bytes == len(given.sequence(contents)) == 204

    @pytest.mark.parametrize(
        "upload_id",
        ["", "x", "018F0000-0000-4000-8000-00000000000A", "{018f0000-0000-4000-8000-000000000001}", "../.."],
    )
    def test_upload_id_that_is_no_canonical_uuid_is_refused(self, given, limits, upload_id):
        with pytest.raises(Invalid, match="is not a UUID"):
            plan_upload(given.header(upload_id=upload_id), limits)

    def test_manifest_is_checked_here_too(self, given, limits):
        header = replace(given.header(), manifest=given.manifest().replace(b"owner", b"owners"))
        with pytest.raises(Invalid, match="unknown key; did you mean 'owner'"):
            plan_upload(header, limits)

    @pytest.mark.parametrize("field", ["owner", "intended_use"])
    def test_text_the_database_cannot_keep_is_refused(self, given, limits, field):
        with pytest.raises(Invalid, match="holds a zero character"):
            plan_upload(given.header(**{field: '"a\\0b"'}), limits)

    def test_file_the_manifest_names_must_come(self, given, limits):
        contents = given.contents()
        del contents[Role.MEMBERS, "members.csv"]
        with pytest.raises(Invalid, match=r"names members 'members.csv', the upload does not bring it"):
            plan_upload(given.header(contents=contents), limits)

    def test_file_the_manifest_does_not_name_must_not_come(self, given, limits):
        contents = {**given.contents(), (Role.CARD, "card.md"): b"# card"}
        with pytest.raises(Invalid, match=r"brings card 'card.md', the manifest does not name it"):
            plan_upload(given.header(contents=contents), limits)

    def test_file_twice_is_refused(self, given, limits):
        header = given.header()
        with pytest.raises(Invalid, match=r"brings artifact 'model.onnx' twice"):
            plan_upload(replace(header, files=(*header.files, header.files[0])), limits)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"size_bytes": 0}, "has 0 bytes"),
            ({"size_bytes": -5}, "has -5 bytes"),
            ({"sha256": ""}, "not 64 lower-case hex"),
            ({"sha256": "AB" * 32}, "not 64 lower-case hex"),
            ({"sha256": "ab" * 32 + "\n"}, "not 64 lower-case hex"),
        ],
    )
    def test_size_and_digest_that_cannot_be_are_refused(self, given, limits, changes, reason):
        header = given.header()
        with pytest.raises(Invalid, match=reason):
            plan_upload(replace(header, files=(replace(header.files[0], **changes), *header.files[1:])), limits)

    def test_one_digest_with_two_sizes_is_refused(self, given, limits):
        header = given.header(contents=given.contents(evaluation=b"same", members=b"same"))
        files = (*header.files[:2], replace(header.files[2], size_bytes=5))
        with pytest.raises(Invalid, match="have one digest but 4 and 5 bytes"):
            plan_upload(replace(header, files=files), limits)

    def test_one_path_with_two_digests_is_refused(self, limits):
        digests = [hashlib.sha256(content).hexdigest() for content in (b"a", b"b", b"c")]
        files = tuple(
            BundleFile(role, path, 1, digest)
            for role, path, digest in zip(
                (Role.ARTIFACT, Role.EVALUATION, Role.MEMBERS), ("m", "same.csv", "same.csv"), digests, strict=True
            )
        )
        manifest = (
            b"model: {id: m, version: '1', artifact: m, owner: o}\n"
            b"data: {evaluation: {file: same.csv, label: y}, members: {file: same.csv}}\n"
        )
        with pytest.raises(Invalid, match=r"'same.csv' is announced with two digests"):
            plan_upload(UploadHeader("018f0000-0000-4000-8000-000000000001", manifest, files), limits)

    @pytest.mark.parametrize(("name", "limit"), [("total_bytes", 215), ("files", 2), ("manifest_bytes", 10)])
    def test_limit_is_named(self, given, name, limit):
        with pytest.raises(Exhausted, match=rf"{name} = \d+; the limit is {limit}"):
            plan_upload(given.header(), replace(UploadLimits(), **{name: limit}))


class TestContentCheck:
    CONTENTS = (b"first" * 7, b"second" * 9, b"third")

    def check(self) -> ContentCheck:
        """Expects the three contents."""
        offset, contents = 0, []
        for number, content in enumerate(self.CONTENTS):
            contents.append(Content(f"file {number}", hashlib.sha256(content).hexdigest(), offset, len(content)))
            offset += len(content)
        return ContentCheck(tuple(contents))

    @settings(max_examples=200)
    @for_all(st.lists(st.integers(1, 60)))
    def test_right_bytes_are_taken_however_they_are_cut(self, sizes):
        check, rest = self.check(), b"".join(self.CONTENTS)
        for size in [*sizes, len(rest)]:
            if rest:
                check.take(rest[:size])
            rest = rest[size:]
        assert check.received == sum(map(len, self.CONTENTS))

    @settings(max_examples=200)
    @for_all(st.data())
    def test_any_other_byte_is_noticed_before_the_last_is_taken(self, data):
        whole = bytearray(b"".join(self.CONTENTS))
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] ^= data.draw(st.integers(1, 255))
        with pytest.raises(Invalid, match=r"'file \d' arrived with sha256 [0-9a-f]{64}, announced was [0-9a-f]{64}"):
            self.check().take(bytes(whole))

    def test_more_than_announced_is_refused(self):
        check = self.check()
        with pytest.raises(Invalid, match="goes on after its 94 bytes"):
            check.take(b"".join(self.CONTENTS) + b"x")
