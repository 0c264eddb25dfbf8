"""From the context of a request to the context of a decision, value by value, each by its modality's kind."""

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
import numpy as np
import orjson

from services.gateway.media import TEXT, is_of_kind, media_from_sent, sent_bytes, text_media
from services.gateway.problems import Problem, ProblemType
from shared.domain import INLINE_BYTES, ContextValue, Floats, Media
from shared.loop_settings import ModalitySettings

MAX_FIELDS: Final = 256
MAX_NAME: Final = 256
MAX_CATEGORY: Final = 4096

# sha256 of stored media → content type
MediaTypes = Mapping[str, str]


def media_ids(context: Mapping[str, object]) -> Iterator[str]:
    """The media that a context refers to."""
    for value in context.values():
        if isinstance(value, dict) and isinstance(media_id := value.get("media_id"), str):
            yield media_id


def context_of(
    modalities: Mapping[str, ModalitySettings], context: Mapping[str, object], media_types: MediaTypes
) -> dict[str, ContextValue]:
    """The values by modality; a null is a modality that is missing.

    Raises:
        Problem: a value is not what its modality takes; the field is `context.<modality>` or a part of it.
    """
    values: dict[str, ContextValue] = {}
    for name, value in context.items():
        field = f"context.{name}"
        settings = modalities.get(name)
        if settings is None:
            raise Problem(ProblemType.UNKNOWN_MODALITY, f"It has {', '.join(sorted(modalities))}.", field)
        if value is not None:
            values[name] = READERS[settings.kind](settings, value, media_types, field)
    return values


def _text(_: ModalitySettings, value: object, media_types: MediaTypes, field: str) -> ContextValue:
    if isinstance(value, str):
        # A character is at most four bytes in UTF-8.
        long = 4 * len(value) > INLINE_BYTES and len(value.encode()) > INLINE_BYTES
        return text_media(value) if long else value
    return _referred("text", value, media_types, field)


def _media(settings: ModalitySettings, value: object, media_types: MediaTypes, field: str) -> ContextValue:
    match value:
        case {"data": str() | bytes() as data, "content_type": str(content_type), **rest} if not rest:
            return media_from_sent(settings.kind, data, content_type, field)
        case {"data": str() | bytes() as data, **rest} if not rest:
            return media_from_sent(settings.kind, data, None, field)
    return _referred(settings.kind, value, media_types, field)


def _referred(kind: str, value: object, media_types: MediaTypes, field: str) -> Media:
    match value:
        case {"media_id": str(media_id), **rest} if not rest:
            content_type = media_types.get(media_id)
            if content_type is None:
                raise Problem(ProblemType.UNKNOWN_MEDIA, "Send it to /v1/media first.", f"{field}.media_id")
            if not is_of_kind(kind, content_type):
                raise _wrong_kind(kind, field)
            return Media(content_type, media_id)
    raise _wrong_kind(kind, field)


def _table(_: ModalitySettings, value: object, __: MediaTypes, field: str) -> ContextValue:
    if not isinstance(value, dict):
        raise _wrong_kind("tabular", field)
    if len(value) > MAX_FIELDS:
        raise _large_table(field)
    table: dict[str, float | str | bool] = {}
    for name, cell in value.items():
        if not 1 <= len(name) <= MAX_NAME or (isinstance(cell, str) and len(cell) > MAX_CATEGORY):
            raise Problem(
                ProblemType.VALUE_TOO_LARGE, "Names: 1 to 256 characters; words: to 4,096.", f"{field}.{name}"
            )
        if isinstance(cell, bool | str):
            table[name] = cell
        elif isinstance(cell, int | float) and math.isfinite(cell):
            table[name] = float(cell)
        elif cell is not None:
            raise Problem(ProblemType.WRONG_KIND, "A field is a number, a word or a flag.", f"{field}.{name}")
    if len(orjson.dumps(table)) > INLINE_BYTES:
        raise _large_table(field)
    return table


def _large_table(field: str) -> Problem:
    return Problem(ProblemType.VALUE_TOO_LARGE, f"At most {MAX_FIELDS} fields and 32 KiB.", field)


def _embedding(settings: ModalitySettings, value: object, _: MediaTypes, field: str) -> ContextValue:
    match value:
        case {"data": str() | bytes() as data, **rest} if not rest:
            embedding = _float32(data, field)
        case _:
            embedding = _from_numbers(value, field)
    if len(embedding) != settings.dimension:
        raise Problem(ProblemType.WRONG_DIMENSION, f"It has {len(embedding)}, the loop {settings.dimension}.", field)
    if not np.isfinite(embedding).all():
        raise _beyond_float32(field)
    return embedding


def _from_numbers(value: object, field: str) -> Floats:
    try:
        numbers = msgspec.convert(value, list[float])
        # A third of the time that numpy takes for a list.
        return np.frombuffer(struct.pack(f"<{len(numbers)}f", *numbers), "<f4").view(np.float32)
    except msgspec.ValidationError:
        raise _wrong_kind("embedding", field) from None
    except OverflowError:
        raise _beyond_float32(field) from None


def _float32(data: str | bytes, field: str) -> Floats:
    """Numbers of four bytes each, the lowest first."""
    decoded = sent_bytes(data, field)
    if len(decoded) % 4:
        raise Problem(ProblemType.WRONG_KIND, "`data` does not hold whole 32-bit numbers.", field)
    return np.frombuffer(decoded, "<f4").astype(np.float32)


def _beyond_float32(field: str) -> Problem:
    return Problem(ProblemType.WRONG_KIND, "A number is beyond 32-bit floating point.", field)


def _wrong_kind(kind: str, field: str) -> Problem:
    return Problem(ProblemType.WRONG_KIND, f"It is `{kind}`: send {FORMS[kind]}.", field)


FORMS: Final = {
    "text": f"a string, or the media_id of {TEXT}",
    "image": 'an object {"data": base64, "content_type"} or {"media_id"}',
    "audio": 'an object {"data": base64, "content_type"} or {"media_id"}',
    "video": 'an object {"data": base64, "content_type"} or {"media_id"}',
    "tabular": "a flat object of numbers, words and flags",
    "embedding": 'a list of numbers, or {"data": base64 of little-endian float32}',
}
READERS: Final[dict[str, Callable[[ModalitySettings, object, MediaTypes, str], ContextValue]]] = {
    "text": _text,
    "image": _media,
    "audio": _media,
    "video": _media,
    "tabular": _table,
    "embedding": _embedding,
}
