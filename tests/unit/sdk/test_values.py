"""Values of a context: held against the libraries that made them, and against the gateway's own reading."""

import base64
import io
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image

from rewardloop import Sound
from rewardloop.ids import new_id
from rewardloop.values import actions_of, context_of, value_of
from services.gateway.context import context_of as gateway_context_of
from shared.loop_settings import LoopSettings


def media(value: Any) -> bytes:
    return base64.b64decode(value["data"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1"])
def test_a_picture_of_pil_arrives_as_it_was(mode: str) -> None:
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)).convert(mode)
    value = value_of(drawn)
    assert isinstance(value, dict)
    assert value["content_type"] == "image/png"
    read = Image.open(io.BytesIO(media(value)))
    np.testing.assert_array_equal(np.asarray(read.convert("RGB")), np.asarray(drawn.convert("RGB")))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_an_array_of_pixels_arrives_as_it_was(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    expected = pixels[:, :, 0] if shape[-1] == 1 else pixels
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(media(value_of(pixels))))), expected)
    of_one = Image.open(io.BytesIO(media(value_of(pixels / 255.0))))
    np.testing.assert_array_equal(np.asarray(of_one), expected)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_a_sound_arrives_as_it_was(channels: tuple[int, ...]) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (800, *channels))
    for given in (samples, (samples * 32767).round().astype(np.int16)):
        read, rate = soundfile.read(io.BytesIO(media(value_of(Sound(given, 8000)))))
        assert rate == 8000
        np.testing.assert_allclose(read, samples, atol=1e-4)


def test_a_row_of_pandas_is_a_table_without_what_is_missing() -> None:
    frame = pd.DataFrame({"age": [31, 40], "country": ["NL", "DE"], "spent": [np.nan, 2.5], "new": [True, False]})
    assert value_of(frame.iloc[0]) == {"age": 31, "country": "NL", "new": True}
    assert value_of({"a": np.float64(1.5), "b": None, "c": np.int64(2)}) == {"a": 1.5, "c": 2}


def test_bytes_and_files_are_media(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    assert value_of(tmp_path / "photo.jpg") == {"data": "anBlZw==", "content_type": "image/jpeg"}
    assert value_of(b"jpeg") == {"data": "anBlZw=="}
    assert value_of({"media_id": "a" * 64}) == {"media_id": "a" * 64}


def test_what_is_no_value_is_told() -> None:
    with pytest.raises(TypeError, match="holds no object"):
        value_of(object())


@pytest.mark.parametrize("value", [np.array([1.0, np.nan]), [float("inf")], {"age": float("inf")}])
def test_what_json_cannot_hold_is_told(value: object) -> None:
    with pytest.raises(ValueError, match="finite"):
        value_of(value)


def test_actions_are_ids_or_have_features() -> None:
    found = actions_of(["a", {"id": "b", "features": {"price": np.float32(0.5), "old": None}}])
    assert found == [{"id": "a"}, {"id": "b", "features": {"price": 0.5}}]


def test_the_gateway_takes_all_of_it() -> None:
    kinds = {"photo": "image", "voice": "audio", "title": "text", "user": "tabular"}
    modalities = {name: {"kind": kind} for name, kind in kinds.items()} | {
        "vector": {"kind": "embedding", "dimension": 3}
    }
    settings = LoopSettings.model_validate({"modalities": modalities})
    context = context_of(
        {
            "photo": np.zeros((4, 4, 3), np.uint8),
            "voice": Sound(np.zeros(800), 8000),
            "title": "Red shoe",
            "user": pd.Series({"age": 31}),
            "vector": np.arange(3.0),
        }
    )
    assert sorted(gateway_context_of(settings.modalities, context, {})) == sorted(modalities)


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [new_id() for _ in range(100)]
    parsed = [uuid.UUID(one) for one in ids]
    assert {(one.version, one.variant) for one in parsed} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 100
    times = [one.int >> 80 for one in parsed]
    assert times == sorted(times)
