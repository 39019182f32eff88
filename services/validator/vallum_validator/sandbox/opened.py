"""The files of a submission, opened: its data as tables and its model as a predictor, each in a worker of its own.

What cannot be had is told in one line and left out; nothing here raises for what a submitter got wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vallum_common.bundle import Manifest, Role, Task
from vallum_common.errors import Invalid, VallumError
from vallum_validator.domain.evidence import Isolation
from vallum_validator.sandbox.child import Limits
from vallum_validator.sandbox.predictor import RUNNABLE_FORMATS, SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.sandbox.prover import SandboxProver
from vallum_validator.sandbox.tables import read_table
from vallum_validator.sandbox.trainer import TRAINABLE_FORMATS, SandboxTrainer
from vallum_validator.table import PredictionFailed, Predictions, Table, canonical_column


@dataclass(frozen=True, slots=True)
class Holding:
    """How workers are held.

    Args:
        limits: of each worker.
        allow_weaker_isolation: whether policy accepts less than full isolation.
    """

    limits: Limits
    allow_weaker_isolation: bool

    def worker(self, name: str, readable: Iterable[Path]) -> Worker:
        """Start a worker that may read these files; see `Worker`."""
        return Worker(name, list(readable), limits=self.limits, allow_weaker_isolation=self.allow_weaker_isolation)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model's file, which the scan calls clean.

    Args:
        path: of the file.
        form: its format, in the scan's words.
        seed: of the submission; random rows on which a conversion is tried come from it.
    """

    path: Path
    form: str
    seed: int


@dataclass(frozen=True, slots=True)
class Data:
    """The data files of a submission.

    Args:
        tables: those that could be read; the evaluation data, if among them, first.
        missing: role of each of the others to the reason.
    """

    tables: Mapping[Role, Table]
    missing: Mapping[Role, str]

    def labels(self, manifest: Manifest) -> tuple[str, ...]:
        """Return the canonical labels that occur anywhere; none for a regression."""
        evaluation = manifest.data.evaluation
        if evaluation is None or manifest.model.task is not Task.CLASSIFICATION:
            return ()
        columns = [
            table.columns[evaluation.label] for table in self.tables.values() if evaluation.label in table.columns
        ]
        found = {label for column in columns for label in canonical_column(column).tolist()}
        return tuple(label for label in found if label is not None)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that was, or was not, brought to answer.

    Args:
        predictor: `None` where it was not.
        why_not: one line why; empty where there is a predictor.
        isolation: what held its worker; `None` where none was started.
        predictions: of the evaluation data; `None` where there is none.
        training: starts a worker that trains models of its kind; `None` where that cannot be.
        prover: what can be proved about it; `None` where there is no predictor.
    """

    predictor: SandboxPredictor | None = None
    why_not: str = ""
    isolation: Isolation | None = None
    predictions: Predictions | None = None
    training: Callable[[], AbstractContextManager[SandboxTrainer]] | None = None
    prover: SandboxProver | None = None


def read_data(files: Mapping[Role, Path], manifest: Manifest, holding: Holding) -> Data:
    """Read data files in a worker that the model never meets.

    Args:
        files: those that may be opened, by role.
        manifest: what they have to hold.
        holding: how the worker is held.
    """
    tables: dict[Role, Table] = {}
    missing: dict[Role, str] = {}
    if not files:
        return Data(tables, missing)
    try:
        with holding.worker("the data reader", files.values()) as worker:
            for role, path in files.items():
                try:
                    tables[role] = read_table(worker, role.value, path, manifest)
                except Invalid as error:
                    missing[role] = error.message
    except VallumError as error:
        missing |= {role: error.message for role in files if role not in tables}
    return Data(tables, missing)


@contextlib.contextmanager
def open_model(artifact: Artifact, manifest: Manifest, *, data: Data, holding: Holding) -> Iterator[OpenedModel]:
    """Load a model and hear its first answers; its worker ends with the context.

    Args:
        artifact: what is loaded.
        manifest: how it is called.
        data: the first of its tables is asked twice, to see whether the answers stay the same.
        holding: how the worker is held.
    """
    with contextlib.ExitStack() as stack:
        isolation: Isolation | None = None
        try:
            _check_askable(artifact.form, manifest, data)
            worker = stack.enter_context(holding.worker("the model", [artifact.path]))
            isolation = worker.isolation
            predictor, predictions = _first_answers(worker, artifact, manifest, data)
            try:
                predictor.convert(_first(data), predictions, np.random.default_rng([artifact.seed, 0]))
            except PredictionFailed:
                # What broke may have been the converter, and it is the model that is to be judged: once more, without.
                worker = stack.enter_context(holding.worker("the model", [artifact.path]))
                predictor, predictions = _first_answers(worker, artifact, manifest, data)
            opened = OpenedModel(
                predictor=predictor,
                isolation=isolation,
                predictions=predictions if Role.EVALUATION in data.tables else None,
                training=_training(artifact, manifest, holding),
                prover=SandboxProver(predictor, lambda: stack.enter_context(holding.worker("the solver", []))),
            )
        except VallumError as error:
            opened = OpenedModel(why_not=error.message, isolation=isolation)
        yield opened


def _training(
    artifact: Artifact, manifest: Manifest, holding: Holding
) -> Callable[[], AbstractContextManager[SandboxTrainer]] | None:
    """A worker of its own: what goes wrong in training must not cost the model its answers."""
    if artifact.form not in TRAINABLE_FORMATS or manifest.model.task is not Task.CLASSIFICATION:
        return None

    @contextlib.contextmanager
    def start() -> Iterator[SandboxTrainer]:
        with holding.worker("the trainer", [artifact.path]) as worker:
            yield SandboxTrainer(worker, artifact.path, artifact.form, manifest)

    return start


def _first(data: Data) -> Table:
    """The evaluation data, where they could be read."""
    return next(iter(data.tables.values()))


def _first_answers(
    worker: Worker, artifact: Artifact, manifest: Manifest, data: Data
) -> tuple[SandboxPredictor, Predictions]:
    predictor = SandboxPredictor(worker, artifact.path, artifact.form, manifest, data_labels=data.labels(manifest))
    return predictor, predictor.probe(_first(data))


def _check_askable(form: str, manifest: Manifest, data: Data) -> None:
    if form not in RUNNABLE_FORMATS:
        raise Invalid(f"no runtime for the format {form!r} here; models are run from {', '.join(RUNNABLE_FORMATS)}")
    if not manifest.data.features:
        raise Invalid("the model was not asked: the manifest names no data.features")
    if not data.tables:
        reason = data.missing.get(Role.EVALUATION, "the manifest names no data.evaluation")
        raise Invalid(f"the model was not asked, for there are no rows: {reason}")
