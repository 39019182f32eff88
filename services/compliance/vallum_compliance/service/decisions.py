"""Deciding: once both halves of the evidence on a submission are there, policy speaks, once."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

import structlog

from vallum_common.clock import Clock
from vallum_common.errors import NotFound
from vallum_compliance.domain.decision import Decision, Evaluation, Judgement
from vallum_compliance.domain.evidence import (
    Document,
    Evidence,
    ModelReference,
    PolicyInput,
    RiskAssessment,
    Validation,
)

log = structlog.get_logger(__name__)


class Policy(Protocol):
    """The release policy in force."""

    version: str
    text: str
    digest: str

    def judge(self, policy_input: PolicyInput) -> Judgement:
        """What it says of an input; an equal judgement for the same input, always."""
        ...


class Signer(Protocol):
    """Holds the signing key."""

    def sign(self, decision: Decision) -> bytes:
        """The signed verdict, of every decision: a refusal is signed like an approval."""
        ...

    def sign_scan(self, model: ModelReference, predicate: Document) -> bytes:
        """What the scan of these bytes found, signed."""
        ...


class DecisionUnit(Protocol):
    """One transaction."""

    async def evidence(self, submission_id: str) -> Evidence:
        """What is known so far, empty at first; until the transaction ends nobody else gets at this submission."""
        ...

    async def save_evidence(self, evidence: Evidence) -> None:
        """Keep what is known."""
        ...

    async def decision(self, submission_id: str) -> Decision | None:
        """The decision on a submission; `None` where there is none yet."""
        ...

    async def newest_decision(self, model: str, version: str) -> Decision | None:
        """The newest decision on a version; `None` where there is none."""
        ...

    async def save_decision(self, decision: Decision, policy: Policy) -> None:
        """Keep a decision, and the text of the policy that made it."""
        ...

    def publish(self, decision: Decision) -> None:
        """Tell the others, if and only if the transaction commits."""
        ...


class DecisionStore(Protocol):
    """Where decisions are kept."""

    def begin(self) -> AbstractAsyncContextManager[DecisionUnit]:
        """A transaction that commits at the end of the block and rolls back when it is left by an exception."""
        ...


class Decisions:
    """Hears evidence, decides, and answers about decisions.

    Args:
        store: where evidence and decisions are kept.
        policy: the release policy in force.
        signer: signs verdicts.
        clock: tells when a decision was taken.
    """

    def __init__(self, store: DecisionStore, policy: Policy, signer: Signer, *, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._signer = signer
        self._clock = clock

    async def hear_validation(self, unit: DecisionUnit, validation: Validation) -> None:
        """Take in what the validator found; a second validation of a submission changes nothing.

        Raises:
            Conflict: the risk of this submission was scored for other bytes.
        """
        evidence = await unit.evidence(validation.submission_id)
        if evidence.validation is None:
            heard = replace(evidence, validation=validation.document(), scan=validation.scan_predicate)
            await self._take_in(unit, heard)

    async def hear_risk(self, unit: DecisionUnit, risk: RiskAssessment) -> None:
        """Take in how risky a submission is; a later scoring of it changes nothing.

        Raises:
            Conflict: this submission was validated with other bytes.
        """
        evidence = await unit.evidence(risk.submission_id)
        if evidence.risk is None:
            await self._take_in(unit, replace(evidence, risk=risk.document()))

    async def get(self, *, submission_id: str = "", model: str = "", version: str = "") -> Decision:
        """The decision on a submission, or the newest one on a version.

        Raises:
            NotFound: nothing was decided.
        """
        async with self._store.begin() as unit:
            if submission_id:
                decision = await unit.decision(submission_id)
                wanted = f"submission {submission_id!r}"
            else:
                decision = await unit.newest_decision(model, version)
                wanted = f"model {model!r} version {version!r}"
        if decision is None:
            raise NotFound(f"there is no decision on {wanted}; it may still be validated or scored")
        return decision

    async def evaluate(self, submission_id: str) -> Evaluation:
        """Run the policy in force on the recorded input of a submission; changes nothing.

        Raises:
            NotFound: nothing was decided, so no input is recorded.
        """
        recorded = await self.get(submission_id=submission_id)
        judgement = self._policy.judge(recorded.policy_input)
        return Evaluation(judgement, self._policy.digest, recorded)

    async def _take_in(self, unit: DecisionUnit, evidence: Evidence) -> None:
        policy_input = evidence.policy_input()
        await unit.save_evidence(evidence)
        if policy_input is None:
            return
        named = policy_input.document()["model"]
        model = ModelReference(named["id"], named["version"], named["digest"])
        unsigned = Decision(
            submission_id=evidence.submission_id,
            model=model,
            judgement=self._policy.judge(policy_input),
            policy_digest=self._policy.digest,
            policy_input=policy_input,
            decided_at=self._clock.now(),
            scan_attestation=b"" if evidence.scan is None else self._signer.sign_scan(model, evidence.scan),
        )
        decision = replace(unsigned, attestation=self._signer.sign(unsigned))
        await unit.save_decision(decision, self._policy)
        unit.publish(decision)
        log.info(
            "submission_decided",
            submission_id=decision.submission_id,
            verdict=decision.verdict,
            rules=[reason.rule for reason in decision.judgement.reasons],
        )
