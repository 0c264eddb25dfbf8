"""What is looked at all through a scenario: offsets, and what waits in the spool."""

import math
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import Final

import httpx
from sqlalchemy.exc import SQLAlchemyError

from tests.faults.bench import Bench
from tests.faults.stored import read_joiner_offsets

PERIOD: Final = 0.5
SPOOLED: Final = "rewardloop_gateway_spooled_events{"


class Watcher:
    """A thread that looks twice a second, until its block ends."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.offsets: list[dict[tuple[str, int], int]] = []
        # Time → events in the spool.
        self.spooled: dict[float, float] = {}
        self.most_series = 0
        self._moved_at: list[float] = []

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def drained_in(self, since: float) -> float:
        """Seconds from a moment until the spool was first seen empty."""
        return min((at for at, events in self.spooled.items() if at >= since and not events), default=math.inf) - since

    def longest_stall(self, since: float, until: float) -> float:
        """Seconds between two moves of the joiner's offsets."""
        return max((after - before for before, after in self._moves(since, until)), default=0.0)

    def _moves(self, since: float, until: float) -> list[tuple[float, float]]:
        moved = [at for at in self._moved_at if since <= at <= until]
        edges = [since, *moved, until]
        return list(pairwise(edges))

    def _run(self) -> None:
        with httpx.Client(base_url=self._bench.platform.url, timeout=PERIOD) as http:
            while not self._stop.wait(PERIOD):
                with suppress(SQLAlchemyError):
                    self._look_at_offsets()
                with suppress(httpx.HTTPError):
                    self._look_at_metrics(http.get("/metrics").text)

    def _look_at_offsets(self) -> None:
        offsets = read_joiner_offsets(self._bench.engine)
        if not self.offsets or offsets != self.offsets[-1]:
            self.offsets.append(offsets)
            self._moved_at.append(time.monotonic())

    def _look_at_metrics(self, text: str) -> None:
        lines = text.splitlines()
        self.spooled[time.monotonic()] = sum(float(line.split()[-1]) for line in lines if line.startswith(SPOOLED))
        self.most_series = max(self.most_series, sum(not line.startswith("#") for line in lines))
