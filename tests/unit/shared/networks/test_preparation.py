import hashlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.domain import Context, ContextValue, Media
from shared.networks.media import NOT_AN_IMAGE
from shared.networks.media_decoder import Decoded, EncodedMedia, decode_all
from shared.networks.preparation import NO_BYTES, NOT_UTF_8, WRONG_KIND, Refusal, prepare
from shared.networks.preprocessing import NOT_FINITE, WRONG_DIMENSION, Bag, text_features
from shared.registry.artifacts import ArtifactError
from tests.unit.shared.networks.conftest import MODALITIES


def media(data: bytes, *, inline: bool = True, content_type: str = "image/png") -> Media:
    return Media(content_type, hashlib.sha256(data).hexdigest(), data if inline else None)


def png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG")
    return out.getvalue()


def fetch_nothing(sha256: str) -> bytes:
    raise ArtifactError(sha256)


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
