"""Clips from their bytes to eight small frames; no torch. Runs in a child process: see media_decoder.py.

Only what a wanted frame needs is decoded, from the key frame before it on, and no more than a fixed number of pixels a
clip: beyond it the key frames alone, so that a clip within the limits always has its frames in time.
"""

from bisect import bisect_right
from collections.abc import Sequence
from io import BytesIO
from typing import Final, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shared.networks.media import MAX_PIXELS, MAX_SECONDS, SIDE, video_format
from shared.networks.preprocessing import RefusedValueError

CLIP_FRAMES: Final = 8
MAX_FRAME_RATE: Final = 240
# Of all frames that must be decoded on the way to the wanted ones: some two seconds' work.
MOST_DECODED: Final = 1_000_000_000

NOT_A_VIDEO: Final = "not a video that can be read"
VIDEO_TOO_LARGE: Final = "a video of more than 16 megapixels a frame"
VIDEO_TOO_LONG: Final = "a video of more than 60 seconds, or of more than 240 frames a second"

Pixels = NDArray[np.uint8]
# Generic in its stubs alone.
VideoPacket: TypeAlias = "Packet[VideoStream]"


def video_features(data: bytes) -> Pixels:
    """uint8 [8, 3, 32, 32]: evenly spaced frames, upright, on white, each scaled to the square.

    Raises:
        RefusedValueError: the bytes are no clip, are damaged, or go beyond the limits.
    """
    container_format = video_format(data)
    if container_format is None:
        raise RefusedValueError(NOT_A_VIDEO)
    try:
        with av.open(BytesIO(data), "r", format=container_format) as container:
            return _clip(container)
    except (RefusedValueError, MemoryError):
        raise
    except Exception as error:
        # Damaged files surface as whatever their codec stumbles over.
        raise RefusedValueError(NOT_A_VIDEO) from error


def _clip(container: InputContainer) -> Pixels:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    if not 0 < stream.width * stream.height <= MAX_PIXELS:
        raise RefusedValueError(VIDEO_TOO_LARGE)
    packets = _packets(container, stream)
    shown = sorted(_time(packet) for packet in packets)
    wanted = [shown[(2 * place + 1) * len(shown) // (2 * CLIP_FRAMES)] for place in range(CLIP_FRAMES)]
    return np.stack(_frames_at(stream, packets, wanted))


def _packets(container: InputContainer, stream: VideoStream) -> list[VideoPacket]:
    """All of the clip, in the order of decoding; nothing is decoded yet, and a header's promises do not count."""
    packets: list[VideoPacket] = []
    for packet in container.demux(stream):
        if packet.size:
            packets.append(packet)
        if len(packets) > MAX_SECONDS * MAX_FRAME_RATE:
            raise RefusedValueError(VIDEO_TOO_LONG)
    times = [_time(packet) for packet in packets]
    if not times:
        raise RefusedValueError(NOT_A_VIDEO)
    if stream.time_base is None or (max(times) - min(times)) * stream.time_base > MAX_SECONDS:
        raise RefusedValueError(VIDEO_TOO_LONG)
    return packets


def _frames_at(stream: VideoStream, packets: Sequence[VideoPacket], wanted: Sequence[int]) -> list[Pixels]:
    """The frame shown at each of these times, which ascend; where that takes too long, the key frame before each."""
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe] or [0]
    key_times = [_time(packets[index]) for index in keys]
    places = [max(0, bisect_right(key_times, time) - 1) for time in wanted]
    ends = [*keys[1:], len(packets)]
    groups = {place: packets[keys[place] : ends[place]] for place in places}
    decoded = stream.width * stream.height * sum(len(group) for group in groups.values())
    frames: list[Pixels] = []
    for place, group in groups.items():
        times = [time for time, of in zip(wanted, places, strict=True) if of == place]
        frames += _decode(stream, group if decoded <= MOST_DECODED else group[:1], times)
    return frames


def _decode(stream: VideoStream, group: Sequence[VideoPacket], times: Sequence[int]) -> list[Pixels]:
    """The frames shown at these times; a group begins with its key frame, and needs no other group."""
    codec = stream.codec_context
    codec.flush_buffers()
    frames: list[Pixels] = []
    last: VideoFrame | None = None
    for packet in [*group, None]:
        for last in codec.decode(packet):
            while len(frames) < len(times) and last.pts is not None and last.pts >= times[len(frames)]:
                frames.append(_pixels(last))
        if len(frames) == len(times):
            return frames
    if last is None:
        raise RefusedValueError(NOT_A_VIDEO)
    return [*frames, *[_pixels(last)] * (len(times) - len(frames))]


def _pixels(frame: VideoFrame) -> Pixels:
    if frame.width * frame.height > MAX_PIXELS:
        raise RefusedValueError(VIDEO_TOO_LARGE)
    small = frame.reformat(SIDE, SIDE, "rgba", interpolation="AREA").to_ndarray().astype(np.float32)
    opaque = small[:, :, 3:] / 255.0
    on_white = np.rint(small[:, :, :3] * opaque + 255.0 * (1.0 - opaque)).astype(np.uint8)
    upright = np.rot90(on_white, round(frame.rotation / 90))
    return np.ascontiguousarray(upright.transpose(2, 0, 1))


def _time(packet: VideoPacket) -> int:
    time = packet.pts if packet.pts is not None else packet.dts
    if time is None:
        raise RefusedValueError(NOT_A_VIDEO)
    return time
