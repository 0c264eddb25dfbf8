"""From what a product sends to small arrays that a network reads; no torch, no decoding of media.

Words, fields, categories and ids become buckets of a stable hash, so that no vocabulary has to be kept: a value nobody
has seen before has an embedding from the start. Scales are squashed, so that unscaled numbers do no harm.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.domain import Action, Floats, Table

BUCKETS: Final = 2**14
TEXT_CHARACTERS: Final = 8192
NGRAM: Final = 3
# Two ids that share one bucket must still differ.
ID_BUCKETS: Final = 3
FREQUENCIES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
# Whole numbers up to this one are often codes: each has an embedding of its own beside its magnitude.
LARGEST_CODE: Final = 10_000
WORD: Final = re.compile(r"\w+")

NOT_FINITE: Final = "a number that is not finite"
WRONG_DIMENSION: Final = "an embedding of another dimension than the loop's"


class RefusedValueError(ValueError):
    """A value that its kind cannot read; `reason` is one fixed text a cause, made for the product's developer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bag:
    """Buckets with weights: what a network sums the embeddings of. `buckets` int64 [n], `weights` float32 [n]."""

    buckets: NDArray[np.int64]
    weights: Floats


# A bag (text, tabular), uint8 [3, 32, 32] (image), uint8 [8, 3, 32, 32] (video), float32 [64, 32] (audio) or
# float32 [D + 1] (embedding).
Features = Bag | NDArray[np.uint8] | Floats


def text_features(text: str) -> Bag:
    """Lower-case words and their character trigrams, of the first 8,192 characters; the weights' squares sum to one."""
    buckets = [_bucket(token) for token in _tokens(text[:TEXT_CHARACTERS].casefold())]
    weight = 1.0 / math.sqrt(max(1, len(buckets)))
    return _bag((bucket, weight) for bucket in buckets)


def table_features(table: Table) -> Bag:
    """Categories and flags as buckets of (field, value), numbers as a squashed magnitude in several resolutions.

    Raises:
        RefusedValueError: a number is not finite.
    """
    return _bag(pair for field in sorted(table) for pair in _field(field, table[field]))


def action_features(action: Action) -> Bag:
    """An action's identity and, where it has any, its features; actions come again and again, so theirs are kept.

    Raises:
        RefusedValueError: a number is not finite.
    """
    features = None if action.features is None else tuple(sorted(action.features.items()))
    # A flag and a number may be equal, and are not the same.
    return _action_features(action.id, features, None if features is None else tuple(type(v) for _, v in features))


@lru_cache(maxsize=2**13)
def _action_features(
    action_id: str, features: tuple[tuple[str, float | str | bool], ...] | None, _: tuple[type, ...] | None
) -> Bag:
    identity = [(_bucket(f"action\0{salt}\0{action_id}"), 1.0) for salt in range(ID_BUCKETS)]
    return _bag([*identity, *(pair for name, value in features or () for pair in _field(name, value))])


def embedding_features(embedding: Floats, dimension: int) -> Floats:
    """float32 [D + 1]: the embedding divided by its root mean square, and the logarithm of that.

    Raises:
        RefusedValueError: it has another dimension, or a number in it is not finite.
    """
    if embedding.shape != (dimension,):
        raise RefusedValueError(WRONG_DIMENSION)
    wide = embedding.astype(np.float64)
    size = math.sqrt(float(wide @ wide) / dimension)
    if not math.isfinite(size):
        raise RefusedValueError(NOT_FINITE)
    features = np.empty(dimension + 1, np.float32)
    np.divide(wide, size or 1.0, out=features[:-1], casting="same_kind")
    features[-1] = math.log1p(size)
    return features


def _tokens(text: str) -> Iterator[str]:
    for word in WORD.findall(text):
        yield f"word\0{word}"
        bounded = f"<{word}>"
        for start in range(len(bounded) - NGRAM + 1):
            yield f"trigram\0{bounded[start : start + NGRAM]}"


def _field(field: str, value: float | str | bool) -> Iterator[tuple[int, float]]:
    if isinstance(value, bool | str):
        yield _bucket(f"category\0{field}\0{value}"), 1.0
        return
    if not math.isfinite(value):
        raise RefusedValueError(NOT_FINITE)
    squashed = math.copysign(math.log1p(abs(value)), value)
    yield _bucket(f"number\0{field}"), max(-4.0, min(4.0, squashed / 4.0))
    for frequency in FREQUENCIES:
        yield _bucket(f"sine\0{frequency}\0{field}"), math.sin(frequency * squashed)
        yield _bucket(f"cosine\0{frequency}\0{field}"), math.cos(frequency * squashed)
    if abs(value) <= LARGEST_CODE and float(value).is_integer():
        yield _bucket(f"code\0{field}\0{int(value)}"), 1.0


def _bag(pairs: Iterable[tuple[int, float]]) -> Bag:
    listed = list(pairs)
    return Bag(
        np.array([bucket for bucket, _ in listed], np.int64), np.array([weight for _, weight in listed], np.float32)
    )


@lru_cache(maxsize=2**16)
def _bucket(token: str) -> int:
    digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS
