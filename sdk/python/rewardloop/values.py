"""Values of a context as the API takes them: pictures, sounds, tables, embeddings, texts."""

import base64
import io
import math
import mimetypes
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rewardloop.answers import JsonObject

Action = str | Mapping[str, object]

BYTE: Final = 255
PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
SAMPLE: Final = 32767


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples as numpy or a list has them: [time] or [time, channels], floats in [-1, 1] or 16-bit integers."""

    samples: object
    rate: int

    def to_wav(self) -> bytes:
        """16-bit WAV."""
        import numpy as np

        samples = np.asarray(self.samples)
        if samples.dtype != np.int16:
            samples = (np.clip(samples.astype(np.float64), -1, 1) * SAMPLE).round().astype("<i2")
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
            sound.setsampwidth(2)
            sound.setframerate(self.rate)
            sound.writeframes(samples.astype("<i2").tobytes())
        return file.getvalue()


def context_of(values: Mapping[str, object]) -> JsonObject:
    """A context of anything that `value_of` takes; what is None is missing."""
    return {name: value_of(value) for name, value in values.items() if value is not None}


def value_of(value: object) -> object:
    """One value as JSON.

    A text; a mapping or a row of pandas (a table); bytes or a path (media); a picture of PIL; a numpy array: of one
    axis an embedding, of two or three ([height, width] or [height, width, channels]) a picture; a Sound.
    """
    match value:
        case str():
            return value
        case bytes():
            return _media(value, None)
        case Path():
            return _media(value.read_bytes(), mimetypes.guess_type(value.name)[0])
        case Sound():
            return _media(value.to_wav(), "audio/wav")
        case Mapping():
            return dict(value) if "data" in value or "media_id" in value else table_of(value)
    if hasattr(value, "__array_interface__") and hasattr(value, "ndim"):
        return _array(value)
    if hasattr(value, "save") and hasattr(value, "mode"):
        return _picture(value)
    if hasattr(value, "to_dict"):
        return table_of(value.to_dict())
    if isinstance(value, Sequence):
        return [_finite(float(number)) for number in value]
    raise TypeError(f"a context holds no {type(value).__name__}: see rewardloop.values.value_of for what it takes")


def table_of(row: Mapping[Any, object]) -> JsonObject:
    """A flat row; numpy's scalars become numbers, and what is None or NaN is missing."""
    plain = {str(name): value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: _finite(value) for name, value in plain.items() if not _is_missing(value)}


def actions_of(actions: Sequence[Action]) -> list[JsonObject]:
    """Candidates: an id, or `{"id": …, "features": {…}}`."""
    return [{"id": action} if isinstance(action, str) else _with_features(action) for action in actions]


def _with_features(action: Mapping[str, object]) -> JsonObject:
    features = action.get("features")
    return dict(action) | ({"features": table_of(features)} if isinstance(features, Mapping) else {})


def _media(data: bytes, content_type: str | None) -> JsonObject:
    encoded = {"data": base64.b64encode(data).decode()}
    return encoded if content_type is None else encoded | {"content_type": content_type}


def _picture(picture: Any) -> JsonObject:  # PIL's Image, which need not be installed
    file = io.BytesIO()
    (picture if picture.mode in PNG_MODES else picture.convert("RGB")).save(file, "PNG")
    return _media(file.getvalue(), "image/png")


def _array(array: Any) -> object:  # numpy's array, which need not be installed
    if array.ndim == 1:
        return [_finite(float(number)) for number in array.tolist()]
    from PIL import Image

    if array.dtype.kind == "f":
        array = (array.clip(0, 1) * BYTE).round()
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _picture(Image.fromarray(array.astype("uint8")))


def _finite(value: object) -> object:
    """What JSON can hold.

    Raises:
        ValueError: it is not finite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a context holds finite numbers, not {value}")
    return value


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
