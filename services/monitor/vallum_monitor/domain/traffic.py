"""Answered requests, in batches of columns; and what makes a batch impossible."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from vallum_common.errors import Invalid
from vallum_monitor.domain.models import PREDICTION, Baseline, FeatureBaseline, ModelReference


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a batch: numbers or texts, one entry per row.

    Args:
        name: of the feature.
        numbers: a missing one is NaN; empty for a column of texts.
        texts: a missing one is ""; empty for a column of numbers.
    """

    name: str
    numbers: Sequence[float] = ()
    texts: Sequence[str] = ()

    @property
    def rows(self) -> int:
        """Number of entries."""
        return len(self.numbers) or len(self.texts)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of requests that a version answered.

    Args:
        batch_id: chosen by the sender; a repeated batch is recognised by it.
        columns: the requests.
        predictions: the answers as text, one per row, or none at all.
        clients: pseudonyms of those who asked, one per row, or none at all.

    Raises:
        Invalid: it has no rows, or its columns do not fit each other.
    """

    batch_id: str
    columns: tuple[Column, ...]
    predictions: Sequence[str] = ()
    clients: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or "" in names:
            raise Invalid(f"{self} names the columns {twice or ['']} wrongly; each needs a name of its own")
        mixed = [column.name for column in self.columns if len(column.numbers) and len(column.texts)]
        if mixed:
            raise Invalid(f"column {mixed[0]!r} of {self} has numbers and texts; a column has one of them")
        lengths = {column.name: column.rows for column in self.columns}
        lengths |= {
            name: len(entries)
            for name, entries in (("predictions", self.predictions), ("clients", self.clients))
            if len(entries)
        }
        odd = [f"{name!r} has {length}" for name, length in lengths.items() if length != self.rows]
        if odd or not self.rows:
            raise Invalid(f"{self} has {self.rows} rows, but {odd[0]}" if odd else f"{self} has no rows")

    def __str__(self) -> str:
        return f"batch {self.batch_id!r}"

    @property
    def rows(self) -> int:
        """Number of requests."""
        return self.columns[0].rows if self.columns else len(self.predictions)

    def check_against(self, baseline: Baseline) -> None:
        """Refuse columns that are not the model's inputs, one for one.

        A column left out would be one nobody watches, so it is refused like one that does not belong.

        Args:
            baseline: of the version; where it is empty nothing is known and every column passes.

        Raises:
            Invalid: a column is unknown, missing or of the wrong kind; the line names it.
        """
        features = {feature.name: feature for feature in baseline if feature.name != PREDICTION}
        if not features:
            return
        present = {column.name for column in self.columns}
        if unknown := sorted(present - set(features)):
            near = difflib.get_close_matches(unknown[0], features, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the model has {sorted(features)}"
            raise Invalid(f"{self} has a column {unknown[0]!r} that the model does not have{hint}", field="columns")
        if missing := sorted(set(features) - present):
            raise Invalid(f"{self} lacks the columns {missing}; every feature is watched", field="columns")
        for column in self.columns:
            if features[column.name].is_numeric and len(column.texts):
                raise Invalid(f"column {column.name!r} of {self} holds texts; the model takes numbers", field="columns")

    def column_of(self, feature: FeatureBaseline) -> Column | None:
        """The column a baseline belongs to; the predictions for that of the model's answers. `None`: not reported."""
        if feature.name == PREDICTION:
            return Column(PREDICTION, texts=self.predictions) if len(self.predictions) else None
        return next((column for column in self.columns if column.name == feature.name), None)


@dataclass(frozen=True, slots=True)
class Observation:
    """The fact that a version answered a batch.

    Args:
        batch: requests and answers.
        reference: what answered.
        environment: where.
        observed_at: when, UTC.
    """

    batch: Batch
    reference: ModelReference
    environment: str
    observed_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Report:
    """A batch as it was handed in.

    Args:
        batch: requests and answers.
        model: what answered.
        version: which version of it.
        environment: where.
        observed_at: when, as the sender says; `None` for the time of arrival.
        digest: of the whole report; a repeated one has the same.
    """

    batch: Batch
    model: str
    version: str
    environment: str
    observed_at: dt.datetime | None
    digest: str
