"""One assessment from beginning to end: scan, data, model, four checks, baseline.

It decides nothing but what may be opened: an artefact that the scan does not call clean is never loaded. Everything
that cannot be measured ends as INCONCLUSIVE with its reason, whatever breaks on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from vallum_common.bundle import Manifest, Role
from vallum_common.bundle.source import named_files
from vallum_common.errors import Invalid, VallumError
from vallum_validator.baseline import baseline_of
from vallum_validator.checks import run_check
from vallum_validator.checks.thresholds import Thresholds
from vallum_validator.domain.evidence import (
    CHECK_NAMES,
    NOT_LOOKED_AT,
    Assessment,
    CheckResult,
    FeatureBaseline,
    Outcome,
    SignatureReport,
)
from vallum_validator.domain.findings import FileReport, ScanReport, ScanVerdict
from vallum_validator.sandbox.child import Limits
from vallum_validator.sandbox.opened import Artifact, Data, Holding, OpenedModel, open_model, read_data
from vallum_validator.sandbox.presidio import check_installed, open_presidio
from vallum_validator.scan import rules_digest, scan_file
from vallum_validator.table import QueryLedger, Subject, TextReader

log = structlog.get_logger(__name__)

MAX_CARD_BYTES: Final = 1024 * 1024
"""A card is read by people."""

_DATA_ROLES: Final = (Role.EVALUATION, Role.MEMBERS, Role.POPULATION)


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage of an assessment began or ended.

    Args:
        stage: `scan`, `data`, `model`, the name of a check, or `baseline`.
        state: `started` or `finished`.
        check: the result of a check that finished, otherwise `None`.
        scan: the report of a scan that finished, otherwise `None`.
        message: one line for a person.
        model_s: seconds a check that finished waited for the model.
    """

    stage: str
    state: str
    check: CheckResult | None = None
    scan: ScanReport | None = None
    message: str = ""
    model_s: float = 0.0


def seed_of(artifact_sha256: str, manifest: bytes) -> int:
    """Return the seed of an assessment: the same for the same artefact and manifest, below 2**48.

    Args:
        artifact_sha256: hex digest of the artefact.
        manifest: the bytes of `vallum.yaml`.
    """
    digest = hashlib.sha256(artifact_sha256.encode() + b"\n" + hashlib.sha256(manifest).digest()).digest()
    return int.from_bytes(digest[:6], "big")


def assess(
    bundle_root: Path,
    manifest: Manifest,
    *,
    thresholds: Thresholds,
    seed: int,
    on_progress: Callable[[Progress], None] = lambda _: None,
    only: Collection[str] = CHECK_NAMES,
    allow_weaker_isolation: bool | None = None,
    limits: Limits | None = None,
    signature: SignatureReport = NOT_LOOKED_AT,
) -> Assessment:
    """Measure a submission.

    Args:
        bundle_root: the folder with the files that the manifest names.
        manifest: of the submission.
        thresholds: the policy the checks judge by.
        seed: every random choice comes from it; see `seed_of`.
        on_progress: told when a stage begins and ends.
        only: names of the checks to run.
        allow_weaker_isolation: whether less than full isolation of the model will do; `None` for what policy says.
        limits: of each worker; `None` for the default.
        signature: what was found of it before anything else was opened.

    Returns:
        The evidence, with one result for each name in `only`, in the order of `CHECK_NAMES`.

    Raises:
        Invalid: a file that the manifest names is not in the folder, `only` names no check, or policy asks for
            Presidio, which is not installed.
    """
    check_installed(thresholds)
    unknown = sorted(set(only) - set(CHECK_NAMES))
    if unknown:
        raise Invalid(f"no check {unknown[0]!r}; there are {', '.join(CHECK_NAMES)}")
    files = {role: _inside(bundle_root, relative) for role, relative in named_files(manifest)}
    allowed = thresholds.isolation.allow_weaker if allow_weaker_isolation is None else allow_weaker_isolation
    holding = Holding(limits or Limits(), allowed)
    on_progress(Progress("scan", "started"))
    reports = _scan(files, dict(named_files(manifest)))
    scan = ScanReport(files=tuple(dict.fromkeys(reports.values())), rules_digest=rules_digest())
    told = f"{len(scan.files)} files: {scan.verdict.value}"
    on_progress(Progress("scan", "finished", scan=scan, message=told))
    with _stage("data", on_progress) as notes:
        data = _read(files, reports, manifest, holding)
        notes += [f"{role.value}: {len(table)} rows" for role, table in data.tables.items()]
        notes += [f"{role.value}: {reason}" for role, reason in data.missing.items()]
    with contextlib.ExitStack() as workers:
        with _stage("model", on_progress) as notes:
            report = reports[Role.ARTIFACT]
            artifact = Artifact(files[Role.ARTIFACT], report.format, seed)
            model = workers.enter_context(_open(artifact, report, manifest, data, holding))
            notes.append(model.why_not)
        subject = _subject(manifest, data, model, files.get(Role.CARD), thresholds, seed)
        subject = dataclasses.replace(subject, presidio=_presidio(thresholds, holding))
        checks = run_checks(subject, model, [name for name in CHECK_NAMES if name in only], on_progress)
    with _stage("baseline", on_progress):
        baseline = _baseline(manifest, data, model)
    return Assessment(
        scan=scan,
        checks=checks,
        isolation=model.isolation,
        baseline=baseline,
        thresholds_digest=thresholds.digest,
        signature=signature.held_against(reports[Role.ARTIFACT]),
    )


@contextlib.contextmanager
def _stage(name: str, on_progress: Callable[[Progress], None]) -> Iterator[list[str]]:
    """Tell the beginning and, with what the stage noted in the list, the end."""
    notes: list[str] = []
    on_progress(Progress(name, "started"))
    yield notes
    on_progress(Progress(name, "finished", message="; ".join(filter(None, notes))))


def _inside(root: Path, relative: str) -> Path:
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        raise Invalid(f"the manifest names {relative!r}, which is no file of the bundle")
    return path


def _scan(files: Mapping[Role, Path], names: Mapping[Role, str]) -> Mapping[Role, FileReport]:
    """Each file once, also where it serves two roles."""
    by_name = {names[role]: path for role, path in files.items()}
    reports = {name: scan_file(path, name=name) for name, path in by_name.items()}
    return {role: reports[names[role]] for role in files}


def _scanned(report: FileReport) -> str:
    first = f" ({report.findings[0].rule}: {report.findings[0].message})" if report.findings else ""
    return f"the scan calls {report.path!r} {report.verdict.value}{first}"


def _read(files: Mapping[Role, Path], reports: Mapping[Role, FileReport], manifest: Manifest, holding: Holding) -> Data:
    opened: dict[Role, Path] = {}
    refused: dict[Role, str] = {}
    for role in _DATA_ROLES:
        if role not in files:
            refused[role] = f"the manifest names no data.{role.value}"
        elif reports[role].verdict is ScanVerdict.MALICIOUS:
            refused[role] = f"it was not opened: {_scanned(reports[role])}"
        else:
            opened[role] = files[role]
    data = read_data(opened, manifest, holding)
    return Data(data.tables, {**refused, **data.missing})


@contextlib.contextmanager
def _open(
    artifact: Artifact, report: FileReport, manifest: Manifest, data: Data, holding: Holding
) -> Iterator[OpenedModel]:
    """The one gate before a model: what the scan does not call clean is never loaded, however well it would be held."""
    if report.verdict is ScanVerdict.CLEAN:
        with open_model(artifact, manifest, data=data, holding=holding) as model:
            yield model
    else:
        yield OpenedModel(why_not=f"the model was not loaded: {_scanned(report)}")


def _subject(
    manifest: Manifest, data: Data, model: OpenedModel, card_file: Path | None, thresholds: Thresholds, seed: int
) -> Subject:
    missing = {role.value: reason for role, reason in data.missing.items()}
    card, why_no_card = _card(card_file)
    if why_no_card:
        missing[Role.CARD.value] = why_no_card
    return Subject(
        manifest=manifest,
        predictor=model.predictor,
        why_not_run=model.why_not,
        evaluation=data.tables.get(Role.EVALUATION),
        members=data.tables.get(Role.MEMBERS),
        population=data.tables.get(Role.POPULATION),
        missing=missing,
        card=card,
        thresholds=thresholds,
        seed=seed,
        training=model.training,
        prover=model.prover,
    )


def _presidio(
    thresholds: Thresholds, holding: Holding
) -> Callable[[], contextlib.AbstractContextManager[TextReader]] | None:
    rule = thresholds.data_privacy.presidio
    return None if rule is None else lambda: open_presidio(rule, holding)


def _card(path: Path | None) -> tuple[str | None, str]:
    if path is None:
        return None, ""
    with path.open("rb") as stream:
        content = stream.read(MAX_CARD_BYTES + 1)
    if len(content) > MAX_CARD_BYTES:
        return None, f"the card is larger than {MAX_CARD_BYTES} bytes"
    try:
        return content.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        return None, f"the card is not UTF-8 text (byte {error.start})"


def run_checks(
    subject: Subject, model: OpenedModel, names: Sequence[str], on_progress: Callable[[Progress], None]
) -> tuple[CheckResult, ...]:
    """Run checks one after the other; what a model earned before it misbehaved does not stand.

    Args:
        subject: what they measure.
        model: asked once more after the last check, whether it still gives its first answers.
        names: of the checks, in the order they are run.
        on_progress: told when each begins and ends.
    """
    results: list[CheckResult] = []
    asked: set[str] = set()
    for name in names:
        on_progress(Progress(name, "started"))
        before = _ledger(model)
        result = _checked(name, subject)
        spent = _ledger(model)
        if spent.calls > before.calls:
            asked.add(name)
            result = _with_queries(result, model, spent.rows - before.rows, spent.calls - before.calls)
        results.append(result)
        # How long it took differs from run to run: that is for who watches, and never for evidence that must repeat.
        waited_s = spent.seconds - before.seconds
        on_progress(Progress(name, "finished", check=result, message=result.reason, model_s=waited_s))
    if not asked or model.predictor is None:
        return tuple(results)
    with contextlib.suppress(VallumError):
        model.predictor.confirm()
    why = model.predictor.failure
    return tuple(_distrusted(result, why) if why and result.name in asked else result for result in results)


def _ledger(model: OpenedModel) -> QueryLedger:
    return model.predictor.ledger if model.predictor else QueryLedger()


def _with_queries(result: CheckResult, model: OpenedModel, rows: int, calls: int) -> CheckResult:
    """The result with what it cost the model and how the model was run."""
    runtime = model.predictor.runtime if model.predictor else ""
    return dataclasses.replace(
        result, details={**result.details, "queries": {"rows": rows, "calls": calls, "runtime": runtime}}
    )


def _checked(name: str, subject: Subject) -> CheckResult:
    """Run one check; whatever it raises is its own inconclusive result and nobody else's."""
    try:
        return run_check(name, subject)
    except VallumError as error:
        reason = error.message
    except Exception as error:
        log.exception("check_failed", check=name)
        reason = f"the check itself failed ({type(error).__name__})"
    return CheckResult(name=name, outcome=Outcome.INCONCLUSIVE, seed=subject.seed, reason=reason)


def _distrusted(result: CheckResult, why: str) -> CheckResult:
    """The result without what speaks for a model that misbehaved; a FAIL stands, for it speaks against it."""
    if result.outcome is Outcome.FAIL or (result.outcome is Outcome.INCONCLUSIVE and result.value is None):
        return result
    interval = result.interval
    ends = [interval.low, interval.high] if interval else None
    return dataclasses.replace(
        result,
        outcome=Outcome.INCONCLUSIVE,
        value=None,
        interval=None,
        reason=f"{why}; before that: {result.reason}",
        details={**result.details, "withdrawn": {"value": result.value, "interval": ends}},
    )


def _baseline(manifest: Manifest, data: Data, model: OpenedModel) -> tuple[FeatureBaseline, ...]:
    table = data.tables.get(Role.EVALUATION)
    if table is None:
        return ()
    classes = model.predictor.classes if model.predictor else ()
    return baseline_of(table, manifest.data.features, model.predictions, classes)
