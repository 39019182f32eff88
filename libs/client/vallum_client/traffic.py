"""Inference traffic as batches for the monitor."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vallum.monitor.v1 import events_pb2, monitor_service_pb2
from vallum_common.errors import Invalid


def read_traffic(path: Path) -> Any:
    """A data frame from a parquet or csv file.

    Raises:
        Invalid: it cannot be read as what its ending says.
    """
    import pandas  # heavy, and only this command needs it

    readers: dict[str, Any] = {".parquet": pandas.read_parquet, ".csv": pandas.read_csv}
    if path.suffix not in readers:
        raise Invalid(f"traffic {str(path)!r} must end in one of {sorted(readers)}")
    try:
        frame = readers[path.suffix](path)
    except (OSError, ValueError) as error:
        raise Invalid(f"traffic {str(path)!r} cannot be read: {error}") from error
    if frame.empty:
        raise Invalid(f"traffic {str(path)!r} has no rows")
    return frame


def batches(
    frame: Any, *, model: str, version: str, environment: str, rows: int, answers: str
) -> Iterator[monitor_service_pb2.ReportInferenceRequest]:
    """The rows of a data frame, `rows` at a time.

    Args:
        frame: one column per feature; every other column but `answers` is left to the monitor to refuse.
        model: model id.
        version: version.
        environment: where it serves.
        rows: rows per batch.
        answers: column with the model's answers; not sent where it is absent.
    """
    features = frame.drop(columns=[answers], errors="ignore")
    for begin in range(0, len(frame), rows):
        part = features.iloc[begin : begin + rows]
        predictions = frame[answers].iloc[begin : begin + rows].astype(str) if answers in frame else ()
        yield monitor_service_pb2.ReportInferenceRequest(
            batch_id=str(uuid.uuid4()),
            model=model,
            version=version,
            environment=environment,
            columns=[_column(name, part[name]) for name in part],
            predictions=predictions,
        )


def _column(name: str, values: Any) -> events_pb2.Column:
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(values):
        return events_pb2.Column(name=name, numbers=values.astype(float))
    return events_pb2.Column(name=name, texts=values.astype(object).where(values.notna(), "").astype(str))
