import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vallum.options.v1 import options_pb2 as _options_pb2
from vallum.registry.v1 import model_pb2 as _model_pb2
from vallum.validator.v1 import evidence_pb2 as _evidence_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Score(_message.Message):
    __slots__ = ("score", "interval", "probability_high")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_HIGH_FIELD_NUMBER: _ClassVar[int]
    score: float
    interval: _evidence_pb2.Interval
    probability_high: float
    def __init__(self, score: _Optional[float] = ..., interval: _Optional[_Union[_evidence_pb2.Interval, _Mapping]] = ..., probability_high: _Optional[float] = ...) -> None: ...

class Risk(_message.Message):
    __slots__ = ("name", "category", "score", "measured", "drivers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    DRIVERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    category: str
    score: Score
    measured: bool
    drivers: _containers.RepeatedCompositeFieldContainer[Driver]
    def __init__(self, name: _Optional[str] = ..., category: _Optional[str] = ..., score: _Optional[_Union[Score, _Mapping]] = ..., measured: _Optional[bool] = ..., drivers: _Optional[_Iterable[_Union[Driver, _Mapping]]] = ...) -> None: ...

class Driver(_message.Message):
    __slots__ = ("evidence", "contribution")
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    evidence: str
    contribution: float
    def __init__(self, evidence: _Optional[str] = ..., contribution: _Optional[float] = ...) -> None: ...

class Category(_message.Message):
    __slots__ = ("name", "score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    score: Score
    def __init__(self, name: _Optional[str] = ..., score: _Optional[_Union[Score, _Mapping]] = ...) -> None: ...

class Recommendation(_message.Message):
    __slots__ = ("risk", "action")
    RISK_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    risk: str
    action: str
    def __init__(self, risk: _Optional[str] = ..., action: _Optional[str] = ...) -> None: ...

class RiskProfile(_message.Message):
    __slots__ = ("model", "submission_id", "overall", "categories", "risks", "recommendations", "risk_model_digest", "scored_at", "cause_event_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_ID_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    RISKS_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDATIONS_FIELD_NUMBER: _ClassVar[int]
    RISK_MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SCORED_AT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.ModelReference
    submission_id: str
    overall: Score
    categories: _containers.RepeatedCompositeFieldContainer[Category]
    risks: _containers.RepeatedCompositeFieldContainer[Risk]
    recommendations: _containers.RepeatedCompositeFieldContainer[Recommendation]
    risk_model_digest: str
    scored_at: _timestamp_pb2.Timestamp
    cause_event_id: str
    def __init__(self, model: _Optional[_Union[_model_pb2.ModelReference, _Mapping]] = ..., submission_id: _Optional[str] = ..., overall: _Optional[_Union[Score, _Mapping]] = ..., categories: _Optional[_Iterable[_Union[Category, _Mapping]]] = ..., risks: _Optional[_Iterable[_Union[Risk, _Mapping]]] = ..., recommendations: _Optional[_Iterable[_Union[Recommendation, _Mapping]]] = ..., risk_model_digest: _Optional[str] = ..., scored_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause_event_id: _Optional[str] = ...) -> None: ...

class RiskScored(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: RiskProfile
    def __init__(self, profile: _Optional[_Union[RiskProfile, _Mapping]] = ...) -> None: ...
