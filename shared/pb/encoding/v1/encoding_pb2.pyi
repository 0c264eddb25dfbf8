from shared.pb.context.v1 import context_pb2 as _context_pb2
from shared.pb.serving.v1 import serving_pb2 as _serving_pb2
from shared.pb.tensor.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeRequest(_message.Message):
    __slots__ = ("model", "contexts", "actions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    model: _serving_pb2.ModelRef
    contexts: _containers.RepeatedCompositeFieldContainer[_context_pb2.Context]
    actions: _containers.RepeatedCompositeFieldContainer[_context_pb2.Action]
    def __init__(self, model: _Optional[_Union[_serving_pb2.ModelRef, _Mapping]] = ..., contexts: _Optional[_Iterable[_Union[_context_pb2.Context, _Mapping]]] = ..., actions: _Optional[_Iterable[_Union[_context_pb2.Action, _Mapping]]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("modalities", "embeddings", "present", "action_embeddings", "refusals")
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    modalities: _containers.RepeatedScalarFieldContainer[str]
    embeddings: _tensor_pb2.Tensor
    present: _tensor_pb2.Tensor
    action_embeddings: _tensor_pb2.Tensor
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, modalities: _Optional[_Iterable[str]] = ..., embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., present: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., action_embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("row", "modality", "reason")
    ROW_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    row: int
    modality: str
    reason: str
    def __init__(self, row: _Optional[int] = ..., modality: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
