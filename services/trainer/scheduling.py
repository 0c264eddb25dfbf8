"""Which runs must start now: loops that have learned enough that is new, and runs whose message was lost."""

from datetime import timedelta

from sqlalchemy.orm import Session

from services.trainer.drifting import DriftWatch
from services.trainer.repository import LearningRecord, read_learning_record
from shared.db.loops import lock_loop, read_loops
from shared.domain import RunReason, RunRef
from shared.loop_settings import LearningSettings, Loop
from shared.registry.training_runs import request_run, runs_to_enqueue


def schedule(session: Session, now: int, watch: DriftWatch) -> list[RunRef]:
    """Requests the fine-tunes that are due, and names every run whose hint must be sent after the commit."""
    refs = [run.ref for run in runs_to_enqueue(session, now)]
    for loop in read_loops(session):
        reason = reason_to_run(session, loop, now, watch)
        if reason is not None and _is_ours(session, loop):
            refs.append(request_run(session, loop.tenant, loop.loop_id, "fine_tune", {}, now, reason).ref)
    return refs


def reason_to_run(session: Session, loop: Loop, now: int, watch: DriftWatch) -> RunReason | None:
    """Why a loop must be fine-tuned now; None where it need not, only logs, or is frozen."""
    learning = loop.settings.learning
    if loop.settings.learning_mode == "logging_only" or loop.frozen_to is not None:
        return None
    record = read_learning_record(session, loop.tenant, loop.loop_id)
    if is_due(record, learning, now):
        return "experiences"
    # An apprentice expects no rewards.
    watches = learning.on_drift and loop.settings.learning_mode == "online" and not record.under_way
    return "drift" if watches and watch.has_drifted(session, loop, record.covered_sequence) else None


def _is_ours(session: Session, loop: Loop) -> bool:
    """Locks the loop; False where another worker has requested a run meanwhile."""
    locked = lock_loop(session, loop.tenant, loop.loop_id)
    return locked and not read_learning_record(session, loop.tenant, loop.loop_id).under_way


def is_due(record: LearningRecord, learning: LearningSettings, now: int) -> bool:
    """Enough new experiences, the interval since the last run began, and none on its way."""
    interval = learning.interval // timedelta(microseconds=1)
    rested = record.last_started_at is None or now - record.last_started_at >= interval
    return (
        rested and not record.under_way and record.last_sequence - record.covered_sequence >= learning.min_experiences
    )
