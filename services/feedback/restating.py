"""Rewards computed again from the kept feedback: the reward was defined anew, or feedback came after the close."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.feedback.repository import (
    Restatable,
    SettingsCache,
    add_numbers,
    add_revisions,
    next_restatement,
    read_restatable,
    read_restatement,
    read_touched,
    set_restated,
)
from services.feedback.windows import DecisionKey, LoopKey
from shared.db.engine import read_session, write_session
from shared.db.offsets import Claim, move_offsets
from shared.db.statistics import CountName
from shared.db.tables import JoinerCountRow
from shared.domain import Clock
from shared.loop_settings import LoopSettings
from shared.rewards import joined_reward, reads_decision

# Experiences that one transaction looks at.
BATCH: Final = 200
# How often the tables are asked, in microseconds, while there is nothing to restate.
INTERVAL: Final = 500_000

logger: Final = structlog.get_logger(__name__)


class Restater:
    """Restates a batch at a time, between two joins; where it was interrupted it goes on.

    A restated experience is a new revision with a sequence of its own, so that readers who take experiences in order
    learn of it; one whose reward stays the same is left alone.
    """

    def __init__(self, engine: Engine, monotonic: Clock) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._ask_at = 0

    def step(self, claims: Sequence[Claim], cache: SettingsCache) -> LoopKey | None:
        """The loop of which a batch was restated; None where there was none to restate.

        Raises:
            FencedError: another joiner has taken over.
        """
        if self._monotonic() < self._ask_at:
            return None
        with read_session(self._engine) as session:
            loop = next_restatement(session)
        if loop is None:
            self._ask_at = self._monotonic() + INTERVAL
            return None
        with write_session(self._engine) as session:
            # Nothing moves: this is what fences a joiner off that was taken over.
            move_offsets(session, claims)
            _restate(session, loop, cache)
        return loop


def restate_touched(session: Session, touched: Set[DecisionKey], loops: Mapping[LoopKey, LoopSettings]) -> None:
    """New revisions of closed experiences whose reward is another one by the feedback that has come since."""
    by_loop: dict[LoopKey, list[str]] = defaultdict(list)
    for tenant, loop_id, decision_id in sorted(touched):
        by_loop[tenant, loop_id].append(decision_id)
    for loop, decision_ids in by_loop.items():
        settings = loops[loop]
        batch = read_touched(session, loop, decision_ids, reads_decision(settings.reward))
        if delayed := sum(one.turn_in_time() for one in batch):
            late: CountName = "late_feedback"
            add_numbers(
                session, JoinerCountRow, [{"tenant": loop[0], "loop_id": loop[1], "name": late, "count": -delayed}]
            )
        _revise(session, loop, settings, batch)


def _revise(session: Session, loop: LoopKey, settings: LoopSettings, batch: Sequence[Restatable]) -> None:
    late = settings.late_feedback == "restate"
    rewards = [joined_reward(settings, one.feedback(late=late), one.decision, one.served_action_id) for one in batch]
    changed = [
        (one.experience, reward) for one, reward in zip(batch, rewards, strict=True) if reward != one.experience.reward
    ]
    if changed:
        add_revisions(session, loop, changed)


def _restate(session: Session, loop: LoopKey, cache: SettingsCache) -> None:
    row = read_restatement(session, loop)
    settings = cache.read(session, [loop]).get(loop)
    if settings is None or row is None:
        return
    batch = read_restatable(session, row, BATCH, reads_decision(settings.reward))
    _revise(session, loop, settings, batch)
    last = batch[-1].experience.sequence if len(batch) == BATCH else None
    set_restated(session, row, last)
    if last is None:
        logger.info("restated", loop_id=loop[1], settings_revision=row.settings_revision)
