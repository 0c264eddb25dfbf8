from shared.pb.context.v1 import context_pb2 as _context_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecideRequest(_message.Message):
    __slots__ = ("loop_id", "decision")
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    loop_id: str
    decision: DecisionRequest
    def __init__(self, loop_id: _Optional[str] = ..., decision: _Optional[_Union[DecisionRequest, _Mapping]] = ...) -> None: ...

class DecideBatchRequest(_message.Message):
    __slots__ = ("loop_id", "decisions")
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    loop_id: str
    decisions: _containers.RepeatedCompositeFieldContainer[DecisionRequest]
    def __init__(self, loop_id: _Optional[str] = ..., decisions: _Optional[_Iterable[_Union[DecisionRequest, _Mapping]]] = ...) -> None: ...

class DecisionRequest(_message.Message):
    __slots__ = ("decision_id", "context", "actions", "excluded_action_ids", "baseline_action_id", "episode_id", "previous_decision_id", "subject_id", "deferred", "explain")
    class ContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_ACTION_IDS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    context: _containers.MessageMap[str, Value]
    actions: _containers.RepeatedCompositeFieldContainer[_context_pb2.Action]
    excluded_action_ids: _containers.RepeatedScalarFieldContainer[str]
    baseline_action_id: str
    episode_id: str
    previous_decision_id: str
    subject_id: str
    deferred: bool
    explain: bool
    def __init__(self, decision_id: _Optional[str] = ..., context: _Optional[_Mapping[str, Value]] = ..., actions: _Optional[_Iterable[_Union[_context_pb2.Action, _Mapping]]] = ..., excluded_action_ids: _Optional[_Iterable[str]] = ..., baseline_action_id: _Optional[str] = ..., episode_id: _Optional[str] = ..., previous_decision_id: _Optional[str] = ..., subject_id: _Optional[str] = ..., deferred: _Optional[bool] = ..., explain: _Optional[bool] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("text", "media", "media_id", "table", "embedding")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    MEDIA_ID_FIELD_NUMBER: _ClassVar[int]
    TABLE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    text: str
    media: Media
    media_id: str
    table: _context_pb2.Table
    embedding: bytes
    def __init__(self, text: _Optional[str] = ..., media: _Optional[_Union[Media, _Mapping]] = ..., media_id: _Optional[str] = ..., table: _Optional[_Union[_context_pb2.Table, _Mapping]] = ..., embedding: _Optional[bytes] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("data", "content_type")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    content_type: str
    def __init__(self, data: _Optional[bytes] = ..., content_type: _Optional[str] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decision",)
    DECISION_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class DecideBatchResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[Row]
    def __init__(self, rows: _Optional[_Iterable[_Union[Row, _Mapping]]] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("decision", "problem")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    problem: Problem
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("decision_id", "action_id", "probability", "model_version", "ranking", "modalities_used", "modalities_missing", "fallback_reason", "modality_importance", "logged")
    class ModalityImportanceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    RANKING_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_USED_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_MISSING_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    MODALITY_IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    action_id: str
    probability: float
    model_version: str
    ranking: _containers.RepeatedCompositeFieldContainer[RankedAction]
    modalities_used: _containers.RepeatedScalarFieldContainer[str]
    modalities_missing: _containers.RepeatedScalarFieldContainer[str]
    fallback_reason: str
    modality_importance: _containers.ScalarMap[str, float]
    logged: bool
    def __init__(self, decision_id: _Optional[str] = ..., action_id: _Optional[str] = ..., probability: _Optional[float] = ..., model_version: _Optional[str] = ..., ranking: _Optional[_Iterable[_Union[RankedAction, _Mapping]]] = ..., modalities_used: _Optional[_Iterable[str]] = ..., modalities_missing: _Optional[_Iterable[str]] = ..., fallback_reason: _Optional[str] = ..., modality_importance: _Optional[_Mapping[str, float]] = ..., logged: _Optional[bool] = ...) -> None: ...

class RankedAction(_message.Message):
    __slots__ = ("id", "probability", "expected_reward", "interval", "outcome_interval", "policy_logit")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REWARD_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    POLICY_LOGIT_FIELD_NUMBER: _ClassVar[int]
    id: str
    probability: float
    expected_reward: float
    interval: _containers.RepeatedScalarFieldContainer[float]
    outcome_interval: _containers.RepeatedScalarFieldContainer[float]
    policy_logit: float
    def __init__(self, id: _Optional[str] = ..., probability: _Optional[float] = ..., expected_reward: _Optional[float] = ..., interval: _Optional[_Iterable[float]] = ..., outcome_interval: _Optional[_Iterable[float]] = ..., policy_logit: _Optional[float] = ...) -> None: ...

class SendFeedbackRequest(_message.Message):
    __slots__ = ("loop_id", "events")
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    loop_id: str
    events: _containers.RepeatedCompositeFieldContainer[Feedback]
    def __init__(self, loop_id: _Optional[str] = ..., events: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("decision_id", "feedback_id", "metric", "number", "text", "occurred_at")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    feedback_id: str
    metric: str
    number: float
    text: str
    occurred_at: str
    def __init__(self, decision_id: _Optional[str] = ..., feedback_id: _Optional[str] = ..., metric: _Optional[str] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., occurred_at: _Optional[str] = ...) -> None: ...

class SendFeedbackResponse(_message.Message):
    __slots__ = ("accepted", "feedback_ids")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_IDS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    feedback_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, accepted: _Optional[int] = ..., feedback_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "title", "status", "detail", "field")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    type: str
    title: str
    status: int
    detail: str
    field: str
    def __init__(self, type: _Optional[str] = ..., title: _Optional[str] = ..., status: _Optional[int] = ..., detail: _Optional[str] = ..., field: _Optional[str] = ...) -> None: ...
