from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelRef(_message.Message):
    __slots__ = ("tenant", "loop_id", "version")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    LOOP_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    loop_id: str
    version: int
    def __init__(self, tenant: _Optional[str] = ..., loop_id: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "head_sequences")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HEAD_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelRef]
    head_sequences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelRef, _Mapping]]] = ..., head_sequences: _Optional[_Iterable[int]] = ...) -> None: ...
