"""Training runs: asked for here, done by the trainer, over when this gateway serves what came of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog
from kombu.exceptions import KombuError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit
from services.gateway.serving import Serving
from shared.db.engine import read_session, write_session
from shared.db.offsets import as_covers
from shared.domain import Clock, ModelRef, RunRef, TrainingRun
from shared.eventlog import EventLog
from shared.events import DECISIONS, FEEDBACK
from shared.loop_settings import Loop
from shared.registry.training_runs import read_run, read_runs, request_run
from shared.registry.versions import read_champion
from shared.security import ApiKey

log: Final = structlog.get_logger(__name__)

Enqueue = Callable[[RunRef], None]
Ref = TypeVar("Ref")


@dataclass(frozen=True, slots=True)
class Training:
    """Every call blocks on the database."""

    engine: Engine
    event_log: EventLog
    serving: Serving
    enqueue: Enqueue
    clock: Clock

    def request(self, caller: ApiKey, loop: Loop) -> TrainingRun:
        """A fine-tune that covers all feedback acknowledged before this call.

        Raises:
            Problem: the loop is frozen.
        """
        if loop.frozen_to is not None:
            raise Problem(ProblemType.LOOP_FROZEN, "Unfreeze it: until then nothing is learned.", "loop_id")
        covers = acknowledged(self.event_log)
        now = self.clock()
        with write_session(self.engine) as session:
            run = request_run(session, loop.tenant, loop.loop_id, "fine_tune", covers, now, "requested")
            subject = f"loops/{loop.loop_id}/training-runs/{run.training_run_id}"
            add_audit(session, caller.tenant, caller.key_id, "request", subject, now)
        tell_trainer(self.enqueue, run.ref)
        return run

    def read(self, loop: Loop, training_run_id: str) -> TrainingRun | None:
        with read_session(self.engine) as session:
            run = read_run(session, RunRef(loop.tenant, loop.loop_id, training_run_id))
            return None if run is None else self._as_served(session, loop, run)

    def read_page(self, loop: Loop, limit: int, before: str | None) -> list[TrainingRun]:
        """Newest first."""
        with read_session(self.engine) as session:
            runs = read_runs(session, loop.tenant, loop.loop_id, limit, before)
            return [self._as_served(session, loop, run) for run in runs]

    def _as_served(self, session: Session, loop: Loop, run: TrainingRun) -> TrainingRun:
        """A run whose version is the champion has not ended before decisions here are made with it."""
        if run.status != "succeeded" or run.version is None:
            return run
        ref = ModelRef(loop.tenant, loop.loop_id, run.version)
        champion = read_champion(session, loop.tenant, loop.loop_id)
        waits = champion is not None and champion.ref == ref and self.serving.pick(loop) != ref
        return replace(run, status="running", finished_at=None) if waits else run


def acknowledged(event_log: EventLog) -> dict[str, int]:
    """Everything that stands in the log by now, for the trainer's work to cover."""
    return as_covers({topic: event_log.ends(topic) for topic in (DECISIONS, FEEDBACK)})


def tell_trainer(enqueue: Callable[[Ref], None], ref: Ref) -> None:
    """Sends the hint that a run or an evaluation waits; without it, the trainer finds the row by itself."""
    try:
        enqueue(ref)
    except (KombuError, OSError) as error:
        log.warning("the trainer was not told", waits=str(ref), error=type(error).__name__)
