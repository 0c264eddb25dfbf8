"""Whether the world has changed: served expectations that held begin to fail.

The squared error of what was expected when a decision was made, before anything was learned from it, is watched by
ADWIN (Bifet and Gavaldà 2007, Learning from Time-Changing Data with Adaptive Windowing).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.orm import Session

from services.trainer.repository import read_expectations
from shared.loop_settings import Loop

if TYPE_CHECKING:
    from river.drift import ADWIN

# Of a loop at a tick.
MOST: Final = 500


@dataclass(slots=True)
class _Watched:
    """A loop since the last run that covered some of it."""

    created_at: int
    covered_sequence: int
    sequence: int
    errors: "ADWIN"


class DriftWatch:
    """Looks at each experience once, and forgets what it saw with every version: a new one has errors of its own."""

    def __init__(self) -> None:
        self._watched: dict[tuple[str, str], _Watched] = {}

    def has_drifted(self, session: Session, loop: Loop, covered_sequence: int) -> bool:
        """Whether errors rose since the last call, among experiences behind a sequence."""
        watched = self._watched_of(loop, covered_sequence)
        low, high = loop.settings.reward.range
        drifted = False
        for sequence, expected, reward in read_expectations(session, loop, watched.sequence, MOST):
            watched.sequence = sequence
            if expected is None:
                continue
            before = watched.errors.estimation
            # ADWIN's bound is about numbers from 0 to 1, which an absurd reward would leave far behind.
            error = min(1.0, ((reward - expected) / (high - low)) ** 2)
            watched.errors.update(error)  # type: ignore[no-untyped-call] # river has no type here
            drifted |= bool(watched.errors.drift_detected) and watched.errors.estimation > before
        return drifted

    def _watched_of(self, loop: Loop, covered_sequence: int) -> _Watched:
        key = loop.tenant, loop.loop_id
        known = self._watched.get(key)
        if known is None or (known.created_at, known.covered_sequence) != (loop.created_at, covered_sequence):
            # Not before a loop asks for it: it brings pandas along.
            from river.drift import ADWIN

            errors = ADWIN()  # type: ignore[no-untyped-call] # river has no type here
            known = self._watched[key] = _Watched(loop.created_at, covered_sequence, covered_sequence, errors)
        return known
