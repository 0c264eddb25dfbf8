"""Waiting for the joiner: what was acknowledged before a call is to be known to the work that it asked for."""

from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Engine

from shared.db.engine import read_session
from shared.db.offsets import covers, read_offsets
from shared.domain import Clock

POLL_SECONDS: Final = 0.05


class JoinerBehindError(RuntimeError):
    """The joiner did not reach in time what the work must cover."""


def wait_for_joiner(
    engine: Engine,
    wanted: Mapping[str, int],
    seconds: float,
    clock: Clock,
    sleep: Callable[[float], None],
    keep_lease: Callable[[], None],
) -> None:
    """Returns once the joiner's offsets have passed what is wanted: topic/partition → offset.

    Raises:
        JoinerBehindError: they have not within so many seconds.
    """
    deadline = clock() + round(seconds * 1e6)
    while not _covered(engine, wanted):
        if clock() >= deadline:
            raise JoinerBehindError(f"the joiner is more than {seconds:g} s behind")
        keep_lease()
        sleep(POLL_SECONDS)


def _covered(engine: Engine, wanted: Mapping[str, int]) -> bool:
    with read_session(engine) as session:
        return covers(read_offsets(session), wanted)
