from shared.pb.context.v1 import context_pb2 as _context_pb2
from shared.pb.tensor.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecisionMade(_message.Message):
    __slots__ = ("tenant", "loop_id", "decision_id", "decided_at", "context", "actions", "excluded_action_ids", "baseline_action_id", "episode_id", "previous_decision_id", "subject_id", "deferred", "settings_revision", "model_version", "head_sequence", "state", "expected_rewards", "variances", "outcome_variances", "probabilities", "seed", "action_id", "probability", "fallback_reason", "modalities_used", "modalities_missing", "request_sha256", "modality_importance", "policy_logits", "arm", "arm_share", "assigned_version", "rollout_id", "rollout_step", "decided_in")
    class ModalityImportanceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_ACTION_IDS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_ID_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_REVISION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REWARDS_FIELD_NUMBER: _ClassVar[int]
    VARIANCES_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_VARIANCES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_USED_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    MODALITY_IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_LOGITS_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    ARM_SHARE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_STEP_FIELD_NUMBER: _ClassVar[int]
    DECIDED_IN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    decision_id: str
    decided_at: int
    context: _context_pb2.Context
    actions: _containers.RepeatedCompositeFieldContainer[_context_pb2.Action]
    excluded_action_ids: _containers.RepeatedScalarFieldContainer[str]
    baseline_action_id: str
    episode_id: str
    previous_decision_id: str
    subject_id: str
    deferred: bool
    settings_revision: int
    model_version: int
    head_sequence: int
    state: _tensor_pb2.Tensor
    expected_rewards: _tensor_pb2.Tensor
    variances: _tensor_pb2.Tensor
    outcome_variances: _tensor_pb2.Tensor
    probabilities: _tensor_pb2.Tensor
    seed: int
    action_id: str
    probability: float
    fallback_reason: str
    modalities_used: _containers.RepeatedScalarFieldContainer[str]
    modalities_missing: _containers.RepeatedScalarFieldContainer[str]
    request_sha256: bytes
    modality_importance: _containers.ScalarMap[str, float]
    policy_logits: _tensor_pb2.Tensor
    arm: str
    arm_share: float
    assigned_version: int
    rollout_id: str
    rollout_step: int
    decided_in: int
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., decided_at: _Optional[int] = ..., context: _Optional[_Union[_context_pb2.Context, _Mapping]] = ..., actions: _Optional[_Iterable[_Union[_context_pb2.Action, _Mapping]]] = ..., excluded_action_ids: _Optional[_Iterable[str]] = ..., baseline_action_id: _Optional[str] = ..., episode_id: _Optional[str] = ..., previous_decision_id: _Optional[str] = ..., subject_id: _Optional[str] = ..., deferred: _Optional[bool] = ..., settings_revision: _Optional[int] = ..., model_version: _Optional[int] = ..., head_sequence: _Optional[int] = ..., state: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., expected_rewards: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., variances: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., outcome_variances: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., probabilities: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., action_id: _Optional[str] = ..., probability: _Optional[float] = ..., fallback_reason: _Optional[str] = ..., modalities_used: _Optional[_Iterable[str]] = ..., modalities_missing: _Optional[_Iterable[str]] = ..., request_sha256: _Optional[bytes] = ..., modality_importance: _Optional[_Mapping[str, float]] = ..., policy_logits: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., arm: _Optional[str] = ..., arm_share: _Optional[float] = ..., assigned_version: _Optional[int] = ..., rollout_id: _Optional[str] = ..., rollout_step: _Optional[int] = ..., decided_in: _Optional[int] = ...) -> None: ...

class DecisionActivated(_message.Message):
    __slots__ = ("tenant", "loop_id", "decision_id", "activated_at", "served_action_id")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_AT_FIELD_NUMBER: _ClassVar[int]
    SERVED_ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    decision_id: str
    activated_at: int
    served_action_id: str
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., activated_at: _Optional[int] = ..., served_action_id: _Optional[str] = ...) -> None: ...

class FeedbackReceived(_message.Message):
    __slots__ = ("tenant", "loop_id", "feedback_id", "decision_id", "metric", "number", "text", "received_at", "occurred_at")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    OCCURRED_AT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    feedback_id: str
    decision_id: str
    metric: str
    number: float
    text: str
    received_at: int
    occurred_at: int
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., feedback_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., metric: _Optional[str] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., received_at: _Optional[int] = ..., occurred_at: _Optional[int] = ...) -> None: ...

class EpisodeEnded(_message.Message):
    __slots__ = ("tenant", "loop_id", "episode_id", "decision_id", "end", "ended_at")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    episode_id: str
    decision_id: str
    end: str
    ended_at: int
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., episode_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., end: _Optional[str] = ..., ended_at: _Optional[int] = ...) -> None: ...

class ExperienceImported(_message.Message):
    __slots__ = ("decision", "feedback", "reward", "end")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    decision: DecisionMade
    feedback: _containers.RepeatedCompositeFieldContainer[FeedbackReceived]
    reward: float
    end: str
    def __init__(self, decision: _Optional[_Union[DecisionMade, _Mapping]] = ..., feedback: _Optional[_Iterable[_Union[FeedbackReceived, _Mapping]]] = ..., reward: _Optional[float] = ..., end: _Optional[str] = ...) -> None: ...

class ExperienceJoined(_message.Message):
    __slots__ = ("tenant", "loop_id", "sequence", "decision_id", "decided_at", "action_id", "probability", "reward", "model_version", "state", "action_embedding", "restates_sequence", "previous_reward")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    REWARD_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACTION_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    RESTATES_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_REWARD_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    sequence: int
    decision_id: str
    decided_at: int
    action_id: str
    probability: float
    reward: float
    model_version: int
    state: _tensor_pb2.Tensor
    action_embedding: _tensor_pb2.Tensor
    restates_sequence: int
    previous_reward: float
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., sequence: _Optional[int] = ..., decision_id: _Optional[str] = ..., decided_at: _Optional[int] = ..., action_id: _Optional[str] = ..., probability: _Optional[float] = ..., reward: _Optional[float] = ..., model_version: _Optional[int] = ..., state: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., action_embedding: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., restates_sequence: _Optional[int] = ..., previous_reward: _Optional[float] = ...) -> None: ...

class ShadowScored(_message.Message):
    __slots__ = ("tenant", "loop_id", "decision_id", "rollout_id", "model_version", "scored_at", "head_sequence", "probabilities", "expected_rewards")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORED_AT_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REWARDS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    decision_id: str
    rollout_id: str
    model_version: int
    scored_at: int
    head_sequence: int
    probabilities: _tensor_pb2.Tensor
    expected_rewards: _tensor_pb2.Tensor
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., decision_id: _Optional[str] = ..., rollout_id: _Optional[str] = ..., model_version: _Optional[int] = ..., scored_at: _Optional[int] = ..., head_sequence: _Optional[int] = ..., probabilities: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., expected_rewards: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class ModelPublished(_message.Message):
    __slots__ = ("tenant", "loop_id", "version")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    version: int
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...
