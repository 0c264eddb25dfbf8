import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from shared.networks.media import (
    IMAGE_TOO_LARGE,
    NOT_A_SOUND,
    NOT_AN_IMAGE,
    SOUND_TOO_LONG,
    MediaKind,
    media_features,
)
from shared.networks.preprocessing import RefusedValueError


def picture(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def sound(samples: np.ndarray, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    out = BytesIO()
    soundfile.write(out, samples, rate, format=form, subtype=subtype)
    return out.getvalue()


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def png_that_promises(width: int, height: int) -> bytes:
    """A PNG whose header is true to its checksum and whose pixels are cut off."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9)))
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def refusal(kind: MediaKind, data: bytes) -> str:
    with pytest.raises(RefusedValueError) as refused:
        media_features(kind, data)
    return refused.value.reason


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_reads_a_picture_in_every_format(form: str) -> None:
    image = Image.new("RGB", (50, 40), (200, 30, 30))
    pixels = media_features("image", picture(image, form))
    assert (pixels.shape, pixels.dtype) == ((3, 32, 32), np.uint8)
    np.testing.assert_allclose(pixels.mean((1, 2)), (200, 30, 30), atol=6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_reads_every_mode_as_white_where_it_is_white(mode: str) -> None:
    white = Image.new("I;16", (8, 8), 65535) if mode == "I;16" else Image.new("RGBA", (8, 8), "white").convert(mode)
    data = picture(white, "TIFF")
    assert media_features("image", data).min() >= 250


def test_what_is_transparent_is_white() -> None:
    pixels = media_features("image", picture(Image.new("RGBA", (8, 8), (0, 0, 0, 0))))
    assert pixels.min() == 255


def test_turns_a_picture_upright() -> None:
    image = Image.new("L", (32, 32), 0)
    image.paste(255, (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels = media_features("image", picture(image.convert("RGB"), "JPEG", exif=exif)).astype(float)
    assert pixels[:, :12].mean() < 20
    assert pixels[:, 20:].mean() > 235


def test_refuses_a_picture_by_its_header_without_unpacking_it() -> None:
    assert refusal("image", png_that_promises(100_000, 100_000)) == IMAGE_TOO_LARGE
    assert refusal("image", png_that_promises(4001, 4000)) == IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", picture(Image.new("RGB", (64, 64)))[:60], png_that_promises(8, 8)]
)
def test_refuses_what_is_no_picture(data: bytes) -> None:
    assert refusal("image", data) == NOT_AN_IMAGE


def test_refuses_formats_that_run_programs() -> None:
    assert refusal("image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None), ("MP3", None)]
)
def test_reads_a_sound_in_every_format(form: str, subtype: str | None) -> None:
    energies = media_features("audio", sound(tone(440, 0.5, 16_000), 16_000, form, subtype))
    assert (energies.shape, energies.dtype) == ((64, 32), np.float32)
    assert np.isfinite(energies).all()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_a_tone_stands_in_the_same_band_at_every_rate(rate: int) -> None:
    low = media_features("audio", sound(tone(400, 0.5, rate), rate)).mean(0).argmax()
    high = media_features("audio", sound(tone(2000, 0.5, rate), rate)).mean(0).argmax()
    assert abs(int(low) - 7) <= 1
    assert abs(int(high) - 21) <= 1


def test_both_channels_are_heard_and_loudness_does_not_matter() -> None:
    mono = tone(700, 0.4, 8_000)
    left_only = np.stack([mono, np.zeros_like(mono)], 1)
    expected = media_features("audio", sound(mono, 8_000, subtype="FLOAT"))
    heard = media_features("audio", sound(left_only, 8_000, subtype="FLOAT"))
    assert np.corrcoef(heard.ravel(), expected.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("count", [1, 100, 300])
def test_reads_sounds_shorter_than_a_window_and_silence(count: int) -> None:
    assert np.isfinite(media_features("audio", sound(np.zeros(count), 8_000))).all()


def test_refuses_sounds() -> None:
    assert refusal("audio", sound(np.zeros(61 * 8_000), 8_000)) == SOUND_TOO_LONG
    assert refusal("audio", sound(np.zeros(0), 8_000)) == NOT_A_SOUND
    assert refusal("audio", sound(np.full(100, np.nan), 8_000, subtype="FLOAT")) == NOT_A_SOUND
    assert refusal("audio", b"RIFF nothing more") == NOT_A_SOUND
    assert refusal("audio", picture(Image.new("L", (4, 4)))) == NOT_A_SOUND


def test_spoken_digits_have_features_that_tell_them_apart(shared_data: Path) -> None:
    folder = shared_data / "fsdd" / "recordings"
    zeros, ones = (
        np.stack([media_features("audio", path.read_bytes()) for path in sorted(folder.glob(f"{digit}_*.wav"))[:20]])
        for digit in (0, 1)
    )
    between = np.linalg.norm(zeros.mean(0) - ones.mean(0))
    assert between > 0.5 * np.linalg.norm(zeros - zeros.mean(0), axis=(1, 2)).mean()
