import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.monitor.v1 import events_pb2 as _events_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportInferenceRequest(_message.Message):
    __slots__ = ("batch_id", "model", "version", "environment", "columns", "predictions", "clients", "observed_at")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    model: str
    version: str
    environment: str
    columns: _containers.RepeatedCompositeFieldContainer[_events_pb2.Column]
    predictions: _containers.RepeatedScalarFieldContainer[str]
    clients: _containers.RepeatedScalarFieldContainer[str]
    observed_at: _timestamp_pb2.Timestamp
    def __init__(self, batch_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., environment: _Optional[str] = ..., columns: _Optional[_Iterable[_Union[_events_pb2.Column, _Mapping]]] = ..., predictions: _Optional[_Iterable[str]] = ..., clients: _Optional[_Iterable[str]] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReportInferenceResponse(_message.Message):
    __slots__ = ("accepted_rows", "accepted_batches", "repeated_batches")
    ACCEPTED_ROWS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    REPEATED_BATCHES_FIELD_NUMBER: _ClassVar[int]
    accepted_rows: int
    accepted_batches: int
    repeated_batches: int
    def __init__(self, accepted_rows: _Optional[int] = ..., accepted_batches: _Optional[int] = ..., repeated_batches: _Optional[int] = ...) -> None: ...

class WatchAlertsRequest(_message.Message):
    __slots__ = ("model", "since", "past_only")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PAST_ONLY_FIELD_NUMBER: _ClassVar[int]
    model: str
    since: _timestamp_pb2.Timestamp
    past_only: bool
    def __init__(self, model: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., past_only: _Optional[bool] = ...) -> None: ...

class WatchAlertsResponse(_message.Message):
    __slots__ = ("alert",)
    ALERT_FIELD_NUMBER: _ClassVar[int]
    alert: _events_pb2.AlertRaised
    def __init__(self, alert: _Optional[_Union[_events_pb2.AlertRaised, _Mapping]] = ...) -> None: ...

class GetSecurityMetricsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSecurityMetricsResponse(_message.Message):
    __slots__ = ("security_posture_score", "risk_exposure", "compliance_rate", "incident_response_time_hours", "computed_at")
    SECURITY_POSTURE_SCORE_FIELD_NUMBER: _ClassVar[int]
    RISK_EXPOSURE_FIELD_NUMBER: _ClassVar[int]
    COMPLIANCE_RATE_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_RESPONSE_TIME_HOURS_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_AT_FIELD_NUMBER: _ClassVar[int]
    security_posture_score: Metric
    risk_exposure: Metric
    compliance_rate: Metric
    incident_response_time_hours: Metric
    computed_at: _timestamp_pb2.Timestamp
    def __init__(self, security_posture_score: _Optional[_Union[Metric, _Mapping]] = ..., risk_exposure: _Optional[_Union[Metric, _Mapping]] = ..., compliance_rate: _Optional[_Union[Metric, _Mapping]] = ..., incident_response_time_hours: _Optional[_Union[Metric, _Mapping]] = ..., computed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("value", "formula", "inputs")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FORMULA_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    value: float
    formula: str
    inputs: _containers.ScalarMap[str, float]
    def __init__(self, value: _Optional[float] = ..., formula: _Optional[str] = ..., inputs: _Optional[_Mapping[str, float]] = ...) -> None: ...
