"""Pictures, sounds, clips and long texts: what their headers say is checked here, and decoding is left to encoding."""

import binascii
import hashlib
from collections.abc import Callable
from io import BytesIO
from typing import Final

import soundfile
from PIL import Image

from services.gateway.problems import Problem, ProblemType
from shared.domain import Media
from shared.networks.media import IMAGE_FORMATS, MAX_PIXELS, MAX_SECONDS, video_format

IMAGE_TYPES: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    # A JPEG with a second picture in it, as telephones make them.
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
SOUND_TYPES: Final = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "MP3": "audio/mpeg",
    "AIFF": "audio/aiff",
}
VIDEO_TYPES: Final = {"mp4": "video/mp4", "webm": "video/webm", "gif": "image/gif"}
SYNONYMS: Final = {
    "image/jpg": "image/jpeg",
    "image/x-ms-bmp": "image/bmp",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/mp3": "audio/mpeg",
    "video/quicktime": "video/mp4",
    "video/x-m4v": "video/mp4",
    "video/x-matroska": "video/webm",
    "video/matroska": "video/webm",
}
UNTOLD: Final = "application/octet-stream"
TEXT: Final = "text/plain"


def media_from_sent(kind: str, data: str | bytes, content_type: str | None, field: str) -> Media:
    """The media of a context value; `kind` is image, audio or video.

    Raises:
        Problem: not base64, not of this kind or of the content type given, or over the limits.
    """
    return checked_media(kind, sent_bytes(data, field), content_type or UNTOLD, field)


def sent_bytes(data: str | bytes, field: str) -> bytes:
    """The bytes that the member `data` of a context value holds: in base64, where the format has none.

    Raises:
        Problem: not base64.
    """
    if isinstance(data, bytes):
        return data
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise Problem(ProblemType.INVALID_FIELD, "`data` is not base64.", f"{field}.data") from None


def checked_media(kind: str, data: bytes, content_type: str, field: str | None) -> Media:
    """The media with its content type as the bytes tell it.

    Raises:
        Problem: as above.
    """
    found = READERS[kind](data, field)
    told = content_type.partition(";")[0].strip().lower()
    if told != UNTOLD and SYNONYMS.get(told, told) != found:
        raise Problem(ProblemType.WRONG_CONTENT_TYPE, f"The bytes are {found}.", field)
    return Media(found, hashlib.sha256(data).hexdigest(), data)


def text_media(text: str) -> Media:
    """A text too long to stand inline."""
    data = text.encode()
    return Media(TEXT, hashlib.sha256(data).hexdigest(), data)


def _image_type(data: bytes, field: str | None) -> str:
    """The content type of a picture whose header can be read and promises no more than the limit."""
    try:
        with Image.open(BytesIO(data), formats=IMAGE_FORMATS) as image:
            pixels, found = image.width * image.height, IMAGE_TYPES[str(image.format)]
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pixels, found = MAX_PIXELS + 1, ""
    except Exception:  # noqa: BLE001 - damaged headers surface as whatever the parser stumbles over
        raise Problem(ProblemType.NOT_AN_IMAGE, f"It must be one of {', '.join(IMAGE_FORMATS)}.", field) from None
    if pixels > MAX_PIXELS:
        raise Problem(ProblemType.IMAGE_TOO_LARGE, f"It may have at most {MAX_PIXELS:,} pixels.", field)
    return found


def _sound_type(data: bytes, field: str | None) -> str:
    """The content type of a sound whose header can be read and promises no more than the limit."""
    try:
        header = soundfile.info(BytesIO(data))
        seconds, found = header.frames / header.samplerate, SOUND_TYPES[header.format]
    except (soundfile.SoundFileError, RuntimeError, KeyError, ZeroDivisionError):
        raise Problem(ProblemType.NOT_A_SOUND, "It must be WAV, FLAC, OGG, MP3 or AIFF.", field) from None
    if seconds > MAX_SECONDS:
        raise Problem(ProblemType.SOUND_TOO_LONG, f"It may last at most {MAX_SECONDS} seconds.", field)
    return found


def _video_type(data: bytes, field: str | None) -> str:
    """The content type by the first bytes; what a clip's header promises counts for nothing until it is decoded."""
    found = video_format(data)
    if found is None:
        raise Problem(ProblemType.NOT_A_VIDEO, "It must be MP4, MOV, WebM, Matroska or an animated GIF.", field)
    return VIDEO_TYPES[found]


def _text_type(data: bytes, field: str | None) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(ProblemType.NOT_A_TEXT, "It must be UTF-8.", field) from None
    return TEXT


def is_of_kind(kind: str, content_type: str) -> bool:
    """Whether stored media of this content type may stand for a value of the kind; a GIF is a picture and a clip."""
    return content_type.partition("/")[0] == kind or (kind, content_type) == ("video", VIDEO_TYPES["gif"])


READERS: Final[dict[str, Callable[[bytes, str | None], str]]] = {
    "image": _image_type,
    "audio": _sound_type,
    "video": _video_type,
    "text": _text_type,
}
