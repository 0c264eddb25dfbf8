"""What time it is for the windows of rewards, when clocks may leap."""

from typing import Final

import structlog

from shared.domain import Clock

# Slews and the pauses between two looks stay far below this; a leap of the wall clock does not.
LEAP: Final = 1_000_000

logger: Final = structlog.get_logger(__name__)


class WindowTime:
    """The wall clock's time, unless that leaps ahead of the time that has passed.

    A leap forward is believed once an event that the gateway took after it says so too: it must not end the windows
    of feedback that the product had no time to send. A step back is believed at once: it ends nothing.
    """

    def __init__(self, wall: Clock, monotonic: Clock) -> None:
        """Both clocks tell microseconds; only the wall clock's zero means something."""
        self._wall = wall
        self._monotonic = monotonic
        self._lead = wall() - monotonic()
        self._ahead = False

    def now(self) -> int:
        """Microseconds since 1970."""
        passed = self._monotonic()
        lead = self._wall() - passed
        leap = lead - self._lead
        if abs(leap) > LEAP and not self._ahead:
            logger.warning("clock_leapt", seconds=leap / 1e6)
        self._ahead = leap > LEAP
        if not self._ahead:
            self._lead = lead
        return passed + self._lead

    def witness(self, happened_at: int) -> None:
        """Takes in the time of an event that the gateway took."""
        self._lead = max(self._lead, min(happened_at, self._wall()) - self._monotonic())
