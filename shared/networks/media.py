"""Pictures and sounds from their bytes to small arrays; no torch. Runs in a child process: see media_decoder.py.

Clips are in video.py, so that who only looks at headers needs no FFmpeg.
"""

import warnings
from io import BytesIO
from typing import Final, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shared.domain import Floats
from shared.networks.preprocessing import RefusedValueError

MediaKind = Literal["image", "audio"]

SIDE: Final = 32
MAX_PIXELS: Final = 16_000_000
IMAGE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

FRAMES: Final = 64
BANDS: Final = 32
MAX_SECONDS: Final = 60
MAX_RATE: Final = 192_000
# Bands end at 4 kHz: twice the rate that they need leaves room for the crude filter before thinning.
ENOUGH_RATE: Final = 16_000
LOWEST_HZ: Final = 50.0
HIGHEST_HZ: Final = 4000.0
WINDOW_SECONDS: Final = 0.032
HOP_SECONDS: Final = 0.010
SILENCE: Final = 1e-8

NOT_AN_IMAGE: Final = "not an image that can be read"
IMAGE_TOO_LARGE: Final = "an image of more than 16 megapixels"
NOT_A_SOUND: Final = "not a sound that can be read"
SOUND_TOO_LONG: Final = "a sound of more than 60 seconds"


def media_features(kind: MediaKind, data: bytes, side: int = SIDE) -> NDArray[np.uint8] | Floats:
    """The array that an encoder of this kind reads; `side` of a picture in pixels.

    Raises:
        RefusedValueError: the bytes are not of this kind, are damaged, or unpack to more than the limits.
    """
    try:
        return image_features(data, side) if kind == "image" else audio_features(data)
    except (RefusedValueError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RefusedValueError(IMAGE_TOO_LARGE) from error
    except Exception as error:
        # Damaged files surface as whatever their codec stumbles over: OSError, SyntaxError, struct.error, …
        raise RefusedValueError(NOT_AN_IMAGE if kind == "image" else NOT_A_SOUND) from error


def video_format(data: bytes) -> str | None:
    """FFmpeg's name of the container by its first bytes: `mp4`, `webm` (Matroska too), `gif`, or None.

    Never left to FFmpeg's own guess, which knows formats that open other files and addresses.
    """
    if data[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free"}:
        return "mp4"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm"
    return "gif" if data.startswith((b"GIF87a", b"GIF89a")) else None


def image_features(data: bytes, side: int = SIDE) -> NDArray[np.uint8]:
    """uint8 [3, side, side]: upright, on white, the whole picture scaled to the square."""
    with warnings.catch_warnings():
        # Pillow warns of large pictures; the limit here is lower and refuses.
        warnings.simplefilter("ignore")
        with Image.open(BytesIO(data), formats=IMAGE_FORMATS) as image:
            return _square(image, side)


def _square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise RefusedValueError(IMAGE_TOO_LARGE)
    image.draft("RGB", (2 * side, 2 * side))
    upright = ImageOps.exif_transpose(_eight_bits(image))
    colours = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    small = colours.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0).convert("RGBA")
    on_white = Image.new("RGBA", small.size, "white")
    on_white.alpha_composite(small)
    pixels: NDArray[np.uint8] = np.asarray(on_white.convert("RGB"), np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow cuts deeper greys off at 255 where it should scale them."""
    if not image.mode.startswith(("I", "F")):
        return image
    grey = np.asarray(image, np.float64)
    full = 65535.0 if image.mode.startswith("I") else 1.0
    return Image.fromarray((np.clip(grey / full, 0.0, 1.0) * 255).astype(np.uint8))


def audio_features(data: bytes) -> Floats:
    """float32 [64, 32]: log-mel energies of 64 equal stretches of the sound, standardised over the sound."""
    samples, rate = _mono(data)
    thinning = max(1, rate // ENOUGH_RATE)
    thinned = samples[: len(samples) // thinning * thinning].reshape(-1, thinning).mean(axis=1)
    energies = _log_mel(thinned, rate / thinning)
    starts = np.linspace(0, len(energies), FRAMES, endpoint=False).astype(int)
    stretches = np.add.reduceat(energies, starts) / np.maximum(1, np.diff(starts, append=len(energies)))[:, None]
    centred = stretches - stretches.mean()
    standardised: Floats = (centred / (centred.std() + 0.1)).astype(np.float32)
    return standardised


def _mono(data: bytes) -> tuple[Floats, int]:
    """Samples [n] and their rate; read by blocks, since a header may promise less than follows."""
    blocks: list[Floats] = []
    with soundfile.SoundFile(BytesIO(data)) as sound:
        rate = int(sound.samplerate)
        if rate > MAX_RATE:
            raise RefusedValueError(NOT_A_SOUND)
        for block in sound.blocks(65536, dtype="float32", always_2d=True):
            blocks.append(block.mean(axis=1))
            if sum(map(len, blocks)) > MAX_SECONDS * rate:
                raise RefusedValueError(SOUND_TOO_LONG)
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(samples) == 0 or not np.isfinite(samples).all():
        raise RefusedValueError(NOT_A_SOUND)
    return samples, rate


def _log_mel(samples: Floats, rate: float) -> Floats:
    """[n, 32], n at least 64 unless the sound is a few windows long."""
    window = max(16, round(WINDOW_SECONDS * rate))
    padded = np.pad(samples, (0, max(0, window + FRAMES - len(samples))))
    hop = max(1, min(round(HOP_SECONDS * rate), (len(padded) - window) // (FRAMES - 1)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, 2 * window)) ** 2 / window
    energies: Floats = np.log(power @ _mel_bank(2 * window, rate).T + SILENCE).astype(np.float32)
    return energies


def _mel_bank(size: int, rate: float) -> Floats:
    """Triangular filters [bands, size / 2 + 1], evenly spaced on the mel scale (O'Shaughnessy's formula)."""
    lowest, highest = 2595 * np.log10(1 + np.array([LOWEST_HZ, HIGHEST_HZ]) / 700)
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    bank: Floats = np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
    return bank
