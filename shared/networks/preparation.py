"""From contexts as products send them to rows of features, alike in serving and in training; no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.domain import Context, ContextValue, Floats, Media
from shared.loop_settings import ModalitySettings
from shared.networks.media_decoder import Decode, EncodedMedia
from shared.networks.preprocessing import (
    TEXT_CHARACTERS,
    Bag,
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

# What a pretrained encoder reads: a text, or a picture uint8 [3, side, side].
Raw = str | NDArray[np.uint8]


class Trunk(Protocol):
    """A pretrained encoder. Callable from any thread."""

    @property
    def dimension(self) -> int:
        """Numbers that it gives for a value."""

    @property
    def side(self) -> int:
        """Of the pictures that it reads, in pixels."""

    def encode(self, values: Sequence[Raw]) -> Floats:
        """Of N values, float32 [N, dimension]. Blocks."""


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
    contexts: Sequence[Context],
    modalities: Mapping[str, ModalitySettings],
    decode: Decode,
    fetch: Fetch,
    trunks: Mapping[str, Trunk] | None = None,
) -> tuple[list[Row], list[Refusal]]:
    """Features of each context, media decoded in one call, and what was refused.

    What has a trunk (by modality) becomes what the trunk makes of it, all values of a modality in one call. A refused
    value is not in its row. Modalities that the model version does not know are left out.
    """
    trunks = trunks or {}
    rows: list[Row] = [{} for _ in contexts]
    refusals: list[Refusal] = []
    places: list[tuple[int, str]] = []
    encoded: list[EncodedMedia] = []
    raw: dict[str, dict[int, Raw]] = {name: {} for name in trunks}
    for index, context in enumerate(contexts):
        for name in modalities.keys() & context.keys():
            try:
                value = _read(context[name], modalities[name], fetch, trunks.get(name))
            except RefusedValueError as error:
                refusals.append(Refusal(index, name, error.reason))
                continue
            if isinstance(value, EncodedMedia):
                places.append((index, name))
                encoded.append(value)
            elif isinstance(value, str):
                raw[name][index] = value
            else:
                rows[index][name] = value
    for (index, name), decoded in zip(places, decode(encoded), strict=True):
        if isinstance(decoded, RefusedValueError):
            refusals.append(Refusal(index, name, decoded.reason))
        elif name in raw and not isinstance(decoded, Bag):
            raw[name][index] = decoded.astype(np.uint8, copy=False)
        else:
            rows[index][name] = decoded
    for name, values in raw.items():
        refusals += _encode(name, trunks[name], values, rows)
    return rows, sorted(refusals, key=lambda refusal: (refusal.row, refusal.modality))


def _encode(name: str, trunk: Trunk, values: Mapping[int, Raw], rows: Sequence[Row]) -> list[Refusal]:
    """Puts what a trunk makes of values, by row, into their rows, and returns what it made nothing finite of."""
    refusals = []
    embeddings = trunk.encode(list(values.values())) if values else ()
    for index, embedding in zip(values, embeddings, strict=True):
        try:
            rows[index][name] = embedding_features(embedding, trunk.dimension)
        except RefusedValueError as error:
            refusals.append(Refusal(index, name, error.reason))
    return refusals


def _read(
    value: ContextValue, modality: ModalitySettings, fetch: Fetch, trunk: Trunk | None
) -> Features | EncodedMedia | str:
    """A text as it is where a trunk reads it."""
    match modality.kind, value:
        case "text", str() | Media():
            text = value if isinstance(value, str) else _text(_bytes(value, fetch))
            return text_features(text) if trunk is None else text[:TEXT_CHARACTERS]
        case "image", Media() if trunk is not None:
            return EncodedMedia("image", _bytes(value, fetch), trunk.side)
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
