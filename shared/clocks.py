"""The clocks that processes hand to what tells the time; a test hands its own."""

import time


def wall() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def monotonic() -> int:
    """Microseconds since some moment, at an even pace."""
    return time.monotonic_ns() // 1000


def seconds_left(seconds: float, began: int, now: int) -> float:
    """Of a span of so many seconds that began at a time (microseconds), what is left of it; at least 0."""
    return max(0.0, seconds - (now - began) / 1e6)
