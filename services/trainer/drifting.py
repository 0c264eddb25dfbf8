"""Whether the world has changed, and where: served expectations that held begin to fail.

A fine-tune starts where the squared error of what was expected when a decision was made, before anything was learned
from it, is found by ADWIN to have risen (Bifet and Gavaldà 2007, Learning from Time-Changing Data with Adaptive
Windowing); it may learn from what came after the place where rewards began to fall short of expectations alone.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sqlalchemy.orm import Session

from services.trainer.repository import read_expectations
from shared.domain import Doubles
from shared.loop_settings import Loop

if TYPE_CHECKING:
    from river.drift import ADWIN

# Of a loop at a tick.
MOST: Final = 500
# Rows on either side of a change at least, and between two looks for one.
LEAST: Final = 30
# Rows that a change is looked for in.
WINDOW: Final = 2000
# Of ADWIN's bound: the chance of finding a change where there is none, shared by all places to look.
CONFIDENCE: Final = 1e-3
# Of the reward's range: a lesser rise may be that of a version which expects too much.
LEAST_RISE: Final = 0.2


def change_sequence(session: Session, loop: Loop, first: int) -> int | None:
    """The sequence at which the newest change of the world begins, of experiences from `first` on; None without any."""
    low, high = loop.settings.reward.range
    sequences, shortfalls, after = [], [], first - 1
    while rows := list(read_expectations(session, loop, after, MOST)):
        after = rows[-1][0]
        for sequence, expected, reward in rows:
            if expected is not None:
                sequences.append(sequence)
                shortfalls.append(max(-1.0, min(1.0, (expected - reward) / (high - low))))
    place = changed_at(np.array(shortfalls))
    return sequences[place] if place else None


def changed_at(shortfalls_N: Doubles) -> int:
    """Where the newest change of the world begins; 0 without any.

    What was expected exceeds what came there by more than before, by more than chance: ADWIN's bound. Unlike squared
    errors, which rise where rewards become less sure, shortfalls of a learner that is calibrated stay about 0.

    Args:
        shortfalls_N: expected minus joined reward, in the reward's range, from -1 to 1, in order.
    """
    start = 0
    for end in range(2 * LEAST, len(shortfalls_N) + 1, LEAST):
        first = max(start, end - WINDOW)
        rise = _rise(shortfalls_N[first:end])
        start = first + rise if rise else start
    return start


def _rise(shortfalls_N: Doubles) -> int:
    """Between its ends, where the mean behind is most above the mean before; 0 where it is not above the bound."""
    count = len(shortfalls_N)
    if count < 2 * LEAST:
        return 0
    before_S = np.arange(LEAST, count - LEAST + 1)
    sum_S = np.cumsum(shortfalls_N)[before_S - 1]
    rise_S = (shortfalls_N.sum() - sum_S) / (count - before_S) - sum_S / before_S
    harmonic_S = 1 / (1 / before_S + 1 / (count - before_S))
    likely = math.log(2 * count / CONFIDENCE)
    # Numbers that lie 2 apart at most.
    bound_S = np.sqrt(2 / harmonic_S * shortfalls_N.var() * likely) + 2 * 2 / (3 * harmonic_S) * likely
    best = int(np.argmax(rise_S - bound_S))
    return int(before_S[best]) if rise_S[best] > max(bound_S[best], LEAST_RISE) else 0


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
