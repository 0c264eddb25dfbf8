"""From contexts as products send them to rows of features, alike in serving and in training; no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.domain import Context, ContextValue, Media
from shared.loop_settings import ModalitySettings
from shared.networks.media_decoder import Decode, EncodedMedia
from shared.networks.preprocessing import (
    Features,
    RefusedValueError,
    embedding_features,
    table_features,
    text_features,
)
from shared.registry.artifacts import ArtifactError

# The bytes under a SHA-256; raises ArtifactError where there are none.
Fetch = Callable[[str], bytes]
# Features of the modalities that are present.
Row = dict[str, Features]

WRONG_KIND: Final = "a value of another kind than the modality's"
NOT_UTF_8: Final = "not a text in UTF-8"
NO_BYTES: Final = "media whose bytes are not in the artifact store"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A context value that its kind cannot read: the row and modality where it stands, and one fixed text a cause."""

    row: int
    modality: str
    reason: str


def prepare(
    contexts: Sequence[Context], modalities: Mapping[str, ModalitySettings], decode: Decode, fetch: Fetch
) -> tuple[list[Row], list[Refusal]]:
    """Features of each context, media decoded in one call, and what was refused.

    A refused value is not in its row. Modalities that the model version does not know are left out.
    """
    rows: list[Row] = [{} for _ in contexts]
    refusals: list[Refusal] = []
    places: list[tuple[int, str]] = []
    encoded: list[EncodedMedia] = []
    for index, context in enumerate(contexts):
        for name in modalities.keys() & context.keys():
            try:
                value = _read(context[name], modalities[name], fetch)
            except RefusedValueError as error:
                refusals.append(Refusal(index, name, error.reason))
                continue
            if isinstance(value, EncodedMedia):
                places.append((index, name))
                encoded.append(value)
            else:
                rows[index][name] = value
    for (index, name), decoded in zip(places, decode(encoded), strict=True):
        if isinstance(decoded, RefusedValueError):
            refusals.append(Refusal(index, name, decoded.reason))
        else:
            rows[index][name] = decoded
    return rows, sorted(refusals, key=lambda refusal: (refusal.row, refusal.modality))


def _read(value: ContextValue, modality: ModalitySettings, fetch: Fetch) -> Features | EncodedMedia:
    match modality.kind, value:
        case "text", str():
            return text_features(value)
        case "text", Media():
            return text_features(_text(_bytes(value, fetch)))
        case ("image" | "audio" | "video") as kind, Media():
            return EncodedMedia(kind, _bytes(value, fetch))
        case "embedding", np.ndarray() if modality.dimension is not None:
            return embedding_features(value, modality.dimension)
        case "tabular", Mapping():
            return table_features(value)
    raise RefusedValueError(WRONG_KIND)


def _bytes(media: Media, fetch: Fetch) -> bytes:
    if media.data is not None:
        return media.data
    try:
        return fetch(media.sha256)
    except ArtifactError as error:
        raise RefusedValueError(NO_BYTES) from error


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedValueError(NOT_UTF_8) from error
