"""Times at the HTTP edge: ISO 8601 with an offset; inside, microseconds since 1970, UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def iso(at: int) -> str:
    """For example 2026-11-23T14:05:00.250000Z."""
    return (EPOCH + at * MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def maybe_iso(at: int | None) -> str | None:
    return None if at is None else iso(at)


def moment_of(text: str) -> int:
    """Microseconds since 1970.

    Raises:
        ValueError: it is not ISO 8601, or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return (moment - EPOCH) // MICROSECOND
