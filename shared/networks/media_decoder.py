"""Decodes media in a child process with limits on memory and time: a hostile file costs itself, not the service."""

import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import pebble
import structlog

from shared.lifeline import watch_lifeline
from shared.networks.media import SIDE, MediaKind, media_features
from shared.networks.preprocessing import Features, RefusedValueError
from shared.networks.video import video_features

MEMORY_BYTES: Final = 1536 * 1024 * 1024
SECONDS: Final = 5.0
# For an answer, the batches before this one included; after that the child is taken for stuck.
WAIT_SECONDS: Final = 15.0
# For a child's first answer: it imports torch, which takes a busy machine long.
START_SECONDS: Final = 120.0
BEYOND_LIMITS: Final = "media that takes too much memory or time to decode"


@dataclass(frozen=True, slots=True)
class EncodedMedia:
    """The bytes of a picture, a sound or a clip as the product sent them; a picture becomes `side` pixels wide."""

    kind: MediaKind | Literal["video"]
    data: bytes
    side: int = SIDE


Decoded = Features | RefusedValueError
Decode = Callable[[Sequence[EncodedMedia]], list[Decoded]]


def decode_all(media: Sequence[EncodedMedia]) -> list[Decoded]:
    """Features of each, or why it is refused; in this process, without limits on memory and time."""
    return [_decode(one) for one in media]


class MediaDecoder:
    """One child process that decodes batch after batch; callable from any thread.

    A batch that breaks the limits or the child is decoded again one by one, and what breaks them alone is refused.
    The child is started with the first batch, again after a crash, and never outlives this process.
    """

    def __init__(
        self, memory_bytes: int = MEMORY_BYTES, seconds: float = SECONDS, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._memory_bytes = memory_bytes
        self._seconds = seconds
        self._wait_seconds = wait_seconds
        # Spawned: a fork would copy the threads' locks of torch and gRPC in whatever state they are.
        self._context = multiprocessing.get_context("spawn")
        # Only this process holds the write end, so that the child's read ends with it.
        self._lifeline, self._held = self._context.Pipe(duplex=False)
        self._lock = threading.Lock()
        self._pool = self._new_pool()
        # The pool whose child has answered once.
        self._started: pebble.ProcessPool | None = None

    def __call__(self, media: Sequence[EncodedMedia]) -> list[Decoded]:
        """Features of each, or why it is refused. Blocks; gives the CPU to others meanwhile."""
        if not media:
            return []
        try:
            return self._within_limits(media)
        except (TimeoutError, MemoryError, pebble.ProcessExpired):
            if len(media) == 1:
                structlog.get_logger().warning("media_beyond_limits", kind=media[0].kind, size=len(media[0].data))
                return [RefusedValueError(BEYOND_LIMITS)]
            return [decoded for one in media for decoded in self([one])]

    def warm_up(self) -> None:
        """Returns once the child runs, so that the first batch need not wait for it."""
        self._within_limits([])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child process, whatever it is at."""
        _end(self._pool)
        self._held.close()
        self._lifeline.close()

    def _within_limits(self, media: Sequence[EncodedMedia]) -> list[Decoded]:
        try:
            return self._ask(media)
        except BrokenProcessPool:
            # The child had ended, or was stuck, before it came to this batch, which is therefore not at fault.
            return self._ask(media)

    def _ask(self, media: Sequence[EncodedMedia]) -> list[Decoded]:
        pool = self._live_pool()
        future: Future[list[Decoded]] = pool.schedule(decode_all, args=(media,), timeout=self._seconds)
        try:
            decoded = future.result(self._wait_seconds if pool is self._started else START_SECONDS)
        except TimeoutError as error:
            if future.done():
                raise
            self._drop(pool)
            raise BrokenProcessPool("the decoding process does not answer") from error
        self._started = pool
        return decoded

    def _live_pool(self) -> pebble.ProcessPool:
        with self._lock:
            if not self._pool.active:
                # Pebble's pool does not live on once its child ended while idle.
                self._pool = self._new_pool()
            return self._pool

    def _drop(self, pool: pebble.ProcessPool) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = self._new_pool()
        _end(pool)

    def _new_pool(self) -> pebble.ProcessPool:
        return pebble.ProcessPool(
            max_workers=1,
            initializer=_start_child,
            initargs=(self._lifeline, self._memory_bytes),
            context=self._context,
        )


def _end(pool: pebble.ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call] # pebble annotates half of itself
    pool.join()


def _start_child(lifeline: Connection, memory_bytes: int) -> None:
    watch_lifeline(lifeline.fileno())
    if sys.platform == "linux":
        address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = address_space + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _decode(media: EncodedMedia) -> Decoded:
    try:
        if media.kind == "video":
            return video_features(media.data)
        return media_features(media.kind, media.data, media.side)
    except RefusedValueError as error:
        return error
