"""Empties the outbox in the background, by a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Final

import httpx

from rewardloop.calls import Call
from rewardloop.errors import UnreachableError
from rewardloop.outbox import EVENTS_AT_ONCE, Outbox
from rewardloop.problems_log import log

LONGEST_PAUSE: Final = 5.0


class Courier:
    """Delivers every `interval` seconds, or once a call's worth of events waits; slower while the platform is away."""

    def __init__(self, outbox: Outbox, send: Callable[[Call], httpx.Response], interval: float) -> None:
        self._outbox = outbox
        self._send = send
        self._interval = interval
        self._delivering = threading.Lock()
        self._starting = threading.Lock()
        self._hurry = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """There is something to deliver."""
        with self._starting:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="rewardloop", daemon=True)
                self._thread.start()
        if len(self._outbox) >= EVENTS_AT_ONCE:
            self._hurry.set()

    def deliver(self) -> None:
        """Empties the outbox now.

        Raises:
            UnreachableError: the platform is away; what was not delivered waits on.
        """
        with self._delivering:
            delivery = self._outbox.delivering()
            call = next(delivery, None)
            while call is not None:
                try:
                    call = delivery.send(self._send(call))
                except StopIteration:
                    return

    def close(self, timeout: float) -> None:
        """Delivers what waits, trying for so many seconds at most, and ends the thread."""
        with self._starting:
            self._closed.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(timeout)
        deadline = time.monotonic() + timeout
        while len(self._outbox):
            try:
                self.deliver()
            except UnreachableError as error:
                if time.monotonic() + self._interval > deadline:
                    log.error("%d things were not delivered: %s", len(self._outbox), error)
                    break
                time.sleep(self._interval)

    def _run(self) -> None:
        pause = self._interval
        while not self._closed.is_set():
            self._hurry.wait(pause)
            self._hurry.clear()
            if self._closed.is_set():
                return
            try:
                self.deliver()
                pause = self._interval
            except UnreachableError as error:
                pause = min(LONGEST_PAUSE, 2 * pause)
                log.warning("%d things wait to be delivered: %s", len(self._outbox), error)
            except Exception:  # noqa: BLE001 - the thread's edge: what waits must not wait for ever
                pause = LONGEST_PAUSE
                log.exception("%d things could not be delivered", len(self._outbox))
