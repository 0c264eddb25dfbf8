import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.domain import Context, ContextValue, Floats, Media
from shared.networks.media import NOT_AN_IMAGE
from shared.networks.media_decoder import Decoded, EncodedMedia, decode_all
from shared.networks.preparation import NO_BYTES, NOT_UTF_8, WRONG_KIND, Raw, Refusal, prepare
from shared.networks.preprocessing import NOT_FINITE, WRONG_DIMENSION, Bag, embedding_features, text_features
from tests.unit.shared.networks.conftest import MODALITIES
from tests.versions import fetch_nothing


def media(data: bytes, *, inline: bool = True, content_type: str = "image/png") -> Media:
    return Media(content_type, hashlib.sha256(data).hexdigest(), data if inline else None)


def png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG")
    return out.getvalue()


def test_a_row_has_what_its_context_has_and_the_version_knows() -> None:
    contexts: list[Context] = [
        {"title": "Red shoe", "user.type": {"age": 31}, "newer": "unknown to this version"},
        {},
        {"photo": media(png()), "vector": np.ones(6, np.float32)},
    ]
    rows, refusals = prepare(contexts, MODALITIES, decode_all, fetch_nothing)
    assert [set(row) for row in rows] == [{"title", "user.type"}, set(), {"photo", "vector"}]
    assert refusals == []


def test_media_of_all_rows_are_decoded_in_one_call() -> None:
    calls: list[Sequence[EncodedMedia]] = []

    def decode(batch: Sequence[EncodedMedia]) -> list[Decoded]:
        calls.append(batch)
        return decode_all(batch)

    contexts: list[Context] = [{"photo": media(png())} for _ in range(3)]
    prepare(contexts, MODALITIES, decode, fetch_nothing)
    assert calls == [[EncodedMedia("image", png())] * 3]


def test_bytes_that_are_not_inline_come_from_the_store() -> None:
    long_text = "word " * 10_000
    stored = {one.sha256: data for data in (png(), long_text.encode()) if (one := media(data, inline=False))}
    context: Context = {"photo": media(png(), inline=False), "title": media(long_text.encode(), inline=False)}
    (row,), refusals = prepare([context], MODALITIES, decode_all, stored.__getitem__)
    assert refusals == []
    title = row["title"]
    assert isinstance(title, Bag)
    assert title.buckets.tolist() == text_features(long_text).buckets.tolist()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("photo", media(b"no picture"), NOT_AN_IMAGE),
        ("photo", media(png(), inline=False), NO_BYTES),
        ("photo", "a text", WRONG_KIND),
        ("voice", {"age": 3}, WRONG_KIND),
        ("title", {"age": 3}, WRONG_KIND),
        ("title", media(b"\xff\xfe", content_type="text/plain"), NOT_UTF_8),
        ("user.type", {"age": float("nan")}, NOT_FINITE),
        ("user.type", "a text", WRONG_KIND),
        ("vector", np.ones(5, np.float32), WRONG_DIMENSION),
        ("vector", np.full(6, np.inf, np.float32), NOT_FINITE),
        ("vector", "a text", WRONG_KIND),
    ],
)
def test_refuses_one_value_and_keeps_the_rest(name: str, value: ContextValue, reason: str) -> None:
    other = "title" if name != "title" else "user.type"
    fine: ContextValue = "fine" if other == "title" else {"age": 3}
    rows, refusals = prepare([{other: fine}, {other: fine, name: value}], MODALITIES, decode_all, fetch_nothing)
    assert refusals == [Refusal(1, name, reason)]
    assert [set(row) for row in rows] == [{other}, {other}]


class Sizes:
    """A trunk that gives how long a text is, or how bright and how wide a picture is; of no text nothing finite."""

    dimension, side = 2, 48

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode(self, values: Sequence[Raw]) -> Floats:
        self.calls.append(len(values))
        return np.array([self._size(value) for value in values], np.float32)

    def _size(self, value: Raw) -> tuple[float, float]:
        return (len(value) or np.nan, 1.0) if isinstance(value, str) else (value.mean(), value.shape[2])


def test_values_of_a_modality_with_a_trunk_are_encoded_in_one_call() -> None:
    trunk = Sizes()
    by_reference = media(b"seventh", content_type="text/plain")
    contexts: list[Context] = [{"title": "four"}, {"vector": np.ones(6, np.float32)}, {"title": by_reference}]
    rows, refusals = prepare(contexts, MODALITIES, decode_all, fetch_nothing, {"title": trunk})
    assert refusals == []
    assert trunk.calls == [2]
    for row, length in ((0, 4.0), (2, 7.0)):
        expected = embedding_features(np.array([length, 1.0], np.float32), 2)
        np.testing.assert_array_equal(np.asarray(rows[row]["title"]), expected)
    assert set(rows[1]) == {"vector"}


def test_a_trunk_sees_pictures_as_large_as_it_reads_them() -> None:
    contexts: list[Context] = [{"photo": media(png())}, {"photo": media(b"no picture")}]
    rows, refusals = prepare(contexts, MODALITIES, decode_all, fetch_nothing, {"photo": Sizes()})
    np.testing.assert_array_equal(
        np.asarray(rows[0]["photo"]), embedding_features(np.array([0.0, 48.0], np.float32), 2)
    )
    assert refusals == [Refusal(1, "photo", NOT_AN_IMAGE)]


def test_what_a_trunk_makes_nothing_finite_of_is_refused_alone() -> None:
    rows, refusals = prepare([{"title": ""}, {"title": "x"}], MODALITIES, decode_all, fetch_nothing, {"title": Sizes()})
    assert refusals == [Refusal(0, "title", NOT_FINITE)]
    assert [set(row) for row in rows] == [set(), {"title"}]
