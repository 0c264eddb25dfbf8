"""The clocks that processes hand to what tells the time; a test hands its own."""

import time


def wall() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def monotonic() -> int:
    """Microseconds since some moment, at an even pace."""
    return time.monotonic_ns() // 1000
