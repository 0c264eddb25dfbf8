from shared.pb.serving.v1 import serving_pb2 as _serving_pb2
from shared.pb.tensor.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecideRequest(_message.Message):
    __slots__ = ("model", "exploration", "states", "candidates", "action_embeddings", "seeds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ACTION_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    model: _serving_pb2.ModelRef
    exploration: Exploration
    states: _tensor_pb2.Tensor
    candidates: _containers.RepeatedCompositeFieldContainer[Candidates]
    action_embeddings: _tensor_pb2.Tensor
    seeds: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, model: _Optional[_Union[_serving_pb2.ModelRef, _Mapping]] = ..., exploration: _Optional[_Union[Exploration, _Mapping]] = ..., states: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., candidates: _Optional[_Iterable[_Union[Candidates, _Mapping]]] = ..., action_embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., seeds: _Optional[_Iterable[int]] = ...) -> None: ...

class Exploration(_message.Message):
    __slots__ = ("strategy", "epsilon", "temperature", "floor", "reward_low", "reward_high", "scale", "gamma", "abstain_below")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    REWARD_LOW_FIELD_NUMBER: _ClassVar[int]
    REWARD_HIGH_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    ABSTAIN_BELOW_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    epsilon: float
    temperature: float
    floor: float
    reward_low: float
    reward_high: float
    scale: float
    gamma: float
    abstain_below: float
    def __init__(self, strategy: _Optional[str] = ..., epsilon: _Optional[float] = ..., temperature: _Optional[float] = ..., floor: _Optional[float] = ..., reward_low: _Optional[float] = ..., reward_high: _Optional[float] = ..., scale: _Optional[float] = ..., gamma: _Optional[float] = ..., abstain_below: _Optional[float] = ...) -> None: ...

class Candidates(_message.Message):
    __slots__ = ("action_ids", "excluded", "baseline")
    ACTION_IDS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    action_ids: _containers.RepeatedScalarFieldContainer[str]
    excluded: _containers.RepeatedScalarFieldContainer[int]
    baseline: int
    def __init__(self, action_ids: _Optional[_Iterable[str]] = ..., excluded: _Optional[_Iterable[int]] = ..., baseline: _Optional[int] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("head_sequence", "drawn", "probabilities", "expected_rewards", "variances", "outcome_variances", "abstained", "policy_logits")
    HEAD_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DRAWN_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REWARDS_FIELD_NUMBER: _ClassVar[int]
    VARIANCES_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_VARIANCES_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    POLICY_LOGITS_FIELD_NUMBER: _ClassVar[int]
    head_sequence: int
    drawn: _tensor_pb2.Tensor
    probabilities: _tensor_pb2.Tensor
    expected_rewards: _tensor_pb2.Tensor
    variances: _tensor_pb2.Tensor
    outcome_variances: _tensor_pb2.Tensor
    abstained: _containers.RepeatedScalarFieldContainer[bool]
    policy_logits: _tensor_pb2.Tensor
    def __init__(self, head_sequence: _Optional[int] = ..., drawn: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., probabilities: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., expected_rewards: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., variances: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., outcome_variances: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., abstained: _Optional[_Iterable[bool]] = ..., policy_logits: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class AttributeRequest(_message.Message):
    __slots__ = ("model", "states", "action_ids", "action_embeddings")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    ACTION_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTION_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    model: _serving_pb2.ModelRef
    states: _tensor_pb2.Tensor
    action_ids: _containers.RepeatedScalarFieldContainer[str]
    action_embeddings: _tensor_pb2.Tensor
    def __init__(self, model: _Optional[_Union[_serving_pb2.ModelRef, _Mapping]] = ..., states: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., action_ids: _Optional[_Iterable[str]] = ..., action_embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class AttributeResponse(_message.Message):
    __slots__ = ("gradients",)
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    gradients: _tensor_pb2.Tensor
    def __init__(self, gradients: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
