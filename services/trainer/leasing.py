"""A worker's hold on a run: kept by telling how far it is, given up with the run's end."""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.db.engine import write_session
from shared.domain import Clock, RunRef, RunStatus
from shared.registry.training_runs import finish_run, report_progress

REPORT_MICROSECONDS: Final = 500_000


@dataclass(slots=True)
class Lease:
    """Of one run by one owner; `duration` in microseconds."""

    engine: Engine
    ref: RunRef
    owner: str
    duration: int
    clock: Clock
    _progress: float = 0.0
    _loss: float | None = None
    _steps: int = 0
    _reported_at: int = field(default=0)

    def advance(self, progress: float, loss: float | None = None, steps: int = 0) -> None:
        """Notes how far the run is, from 0 to 1, and keeps the lease.

        Raises:
            LeaseLostError: another worker has the run.
        """
        self._progress, self._loss, self._steps = progress, loss, steps
        self.keep()

    def keep(self) -> None:
        """Keeps the lease; writes at most twice a second.

        Raises:
            LeaseLostError: another worker has the run.
        """
        now = self.clock()
        if now - self._reported_at < REPORT_MICROSECONDS:
            return
        self._reported_at = now
        with write_session(self.engine) as session:
            report_progress(session, self.ref, self.owner, now, self.duration, self._progress, self._loss, self._steps)

    def finish(
        self, session: Session, status: RunStatus, version: int | None = None, detail: str | None = None
    ) -> None:
        """Ends the run, in the transaction of whatever it brought.

        Raises:
            LeaseLostError: another worker has the run.
        """
        now = self.clock()
        report_progress(session, self.ref, self.owner, now, self.duration, self._progress, self._loss, self._steps)
        finish_run(session, self.ref, self.owner, now, status, version, detail)
