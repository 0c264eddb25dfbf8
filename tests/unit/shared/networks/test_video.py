"""Clips that this test encodes, whose frames brighten from black to white, and real ones."""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from shared.networks import video
from shared.networks.media_decoder import EncodedMedia, MediaDecoder
from shared.networks.preprocessing import RefusedValueError
from shared.networks.video import NOT_A_VIDEO, VIDEO_TOO_LARGE, VIDEO_TOO_LONG, video_features

FORMS = [
    ("mp4", "libx264", "yuv420p"),
    ("mov", "mpeg4", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("gif", "gif", "rgb8"),
]
GROUP = 12


def clip(
    form: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    *,
    frames: int = 40,
    rate: int = 20,
    side: int = 64,
    rotation: int = 0,
) -> bytes:
    """Brightens evenly; its left half is black throughout."""
    out = BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = side, side, pixels
        stream.gop_size = GROUP
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(frames):
            image = np.full((side, side, 3), 255 * index // max(1, frames - 1), np.uint8)
            image[:, : side // 2] = 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(RefusedValueError) as refused:
        video_features(data)
    return refused.value.reason


@pytest.mark.parametrize(("form", "codec", "pixels"), FORMS)
def test_reads_eight_evenly_spaced_frames_of_every_format(form: str, codec: str, pixels: str) -> None:
    frames = video_features(clip(form, codec, pixels))
    assert (frames.shape, frames.dtype) == ((8, 3, 32, 32), np.uint8)
    # Frames 2, 7, … 37 of 40.
    np.testing.assert_allclose(frames[:, :, :, 20:].mean((1, 2, 3)), 255 * np.arange(2, 40, 5) / 39, atol=8)
    assert frames[:, :, :, :12].mean() < 12


def test_a_clip_of_one_frame_is_that_frame_throughout() -> None:
    frames = video_features(clip(frames=1))
    assert (frames == frames[0]).all()


def test_turns_a_clip_upright() -> None:
    frames = video_features(clip(rotation=-90))
    # What was left is above.
    assert frames[-1, :, :12].mean() < 20
    assert frames[-1, :, 20:].mean() > 200


def test_key_frames_stand_for_what_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip(frames=48)
    exact = video_features(data)
    monkeypatch.setattr(video, "MOST_DECODED", 0)
    coarse = video_features(data)
    # Never later, hence darker, and by a group of frames at most.
    darker = exact[:, :, :, 20:].mean((1, 2, 3)) - coarse[:, :, :, 20:].mean((1, 2, 3))
    assert (darker > -8).all()
    assert (darker < 255 * GROUP / 47 + 8).all()


def test_refuses_what_goes_beyond_the_limits() -> None:
    assert refusal(clip("gif", "gif", "rgb8", frames=62, rate=1, side=8)) == VIDEO_TOO_LONG
    assert refusal(_gif_of(4001, 4000)) == VIDEO_TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [b"", b"not a clip", b"#EXTM3U\nhttp://example.org/a.ts", clip()[:200], b"\x1a\x45\xdf\xa3" + bytes(99), b"GIF89a"],
)
def test_refuses_what_is_no_clip(data: bytes) -> None:
    assert refusal(data) == NOT_A_VIDEO


def test_a_real_clip_changes_over_time_and_is_decoded_in_the_child(shared_data: Path) -> None:
    data = (shared_data / "video" / "bigbuckbunny.mp4").read_bytes()
    with MediaDecoder() as decode:
        (frames,) = decode([EncodedMedia("video", data)])
    assert isinstance(frames, np.ndarray)
    assert frames.shape == (8, 3, 32, 32)
    np.testing.assert_array_equal(frames, video_features(data))
    assert np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3)).min() > 1


def _gif_of(width: int, height: int) -> bytes:
    """A GIF whose header promises these dimensions."""
    small = clip("gif", "gif", "rgb8", frames=2, side=8)
    return small[:6] + width.to_bytes(2, "little") + height.to_bytes(2, "little") + small[10:]
