"""Which runs must start now: loops that have learned enough that is new, and runs whose message was lost."""

from datetime import timedelta

from sqlalchemy.orm import Session

from services.trainer.repository import LearningRecord, read_learning_record
from shared.db.loops import lock_loop, read_loops
from shared.domain import RunRef
from shared.loop_settings import LearningSettings, Loop
from shared.registry.training_runs import request_run, runs_to_enqueue


def schedule(session: Session, now: int) -> list[RunRef]:
    """Requests the fine-tunes that are due, and names every run whose hint must be sent after the commit."""
    lost = [run.ref for run in runs_to_enqueue(session, now)]
    due = [
        request_run(session, loop.tenant, loop.loop_id, "fine_tune", {}, now).ref
        for loop in read_loops(session)
        # Asked again under the lock: another worker may have requested it meanwhile.
        if _is_due(session, loop, now) and lock_loop(session, loop.tenant, loop.loop_id) and _is_due(session, loop, now)
    ]
    return lost + due


def _is_due(session: Session, loop: Loop, now: int) -> bool:
    return is_due(read_learning_record(session, loop.tenant, loop.loop_id), loop.settings.learning, now)


def is_due(record: LearningRecord, learning: LearningSettings, now: int) -> bool:
    """Enough new experiences, the interval since the last run began, and none on its way."""
    interval = learning.interval // timedelta(microseconds=1)
    rested = record.last_started_at is None or now - record.last_started_at >= interval
    return (
        rested and not record.under_way and record.last_sequence - record.covered_sequence >= learning.min_experiences
    )
