from shared.pb.serving.v1 import serving_pb2 as _serving_pb2
from shared.pb.tensor.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FuseRequest(_message.Message):
    __slots__ = ("model", "embeddings", "present")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    model: _serving_pb2.ModelRef
    embeddings: _tensor_pb2.Tensor
    present: _tensor_pb2.Tensor
    def __init__(self, model: _Optional[_Union[_serving_pb2.ModelRef, _Mapping]] = ..., embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., present: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class FuseResponse(_message.Message):
    __slots__ = ("states",)
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _tensor_pb2.Tensor
    def __init__(self, states: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class AttributeRequest(_message.Message):
    __slots__ = ("model", "embeddings", "present", "gradients")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    model: _serving_pb2.ModelRef
    embeddings: _tensor_pb2.Tensor
    present: _tensor_pb2.Tensor
    gradients: _tensor_pb2.Tensor
    def __init__(self, model: _Optional[_Union[_serving_pb2.ModelRef, _Mapping]] = ..., embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., present: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., gradients: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...

class AttributeResponse(_message.Message):
    __slots__ = ("shares",)
    SHARES_FIELD_NUMBER: _ClassVar[int]
    shares: _tensor_pb2.Tensor
    def __init__(self, shares: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
