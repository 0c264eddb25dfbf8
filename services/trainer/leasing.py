"""A worker's hold on what it does, a run or an evaluation: kept by telling how far it is, given up with its end."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from shared.db.engine import write_session
from shared.domain import Clock, EvaluationRef, RunRef, RunStatus
from shared.evaluation.evaluation import EvaluationResult
from shared.registry.evaluations import finish_evaluation, report_evaluation
from shared.registry.training_runs import LeaseLostError, finish_run, report_progress

REPORT_MICROSECONDS: Final = 500_000
Ref = TypeVar("Ref")

log: Final = structlog.get_logger(__name__)


@dataclass(slots=True)
class WorkLease(ABC, Generic[Ref]):
    """Of one owner; `duration` in microseconds."""

    engine: Engine
    ref: Ref
    owner: str
    duration: int
    clock: Clock
    _progress: float = 0.0
    _reported_at: int = 0

    def keep(self) -> None:
        """Keeps the lease; writes at most twice a second.

        Raises:
            LeaseLostError: another worker has it.
        """
        now = self.clock()
        if now - self._reported_at < REPORT_MICROSECONDS:
            return
        self._reported_at = now
        with write_session(self.engine) as session:
            self._report(session, now)

    @abstractmethod
    def _report(self, session: Session, now: int) -> None:
        """Writes how far it is, and how long the lease lasts."""


@dataclass(slots=True)
class Lease(WorkLease[RunRef]):
    """Of one run."""

    _loss: float | None = None
    _steps: int = 0

    def advance(self, progress: float, loss: float | None = None, steps: int = 0) -> None:
        """Notes how far the run is, from 0 to 1, and keeps the lease.

        Raises:
            LeaseLostError: another worker has the run.
        """
        self._progress, self._loss, self._steps = progress, loss, steps
        self.keep()

    def finish(
        self, session: Session, status: RunStatus, version: int | None = None, detail: str | None = None
    ) -> None:
        """Ends the run, in the transaction of whatever it brought.

        Raises:
            LeaseLostError: another worker has the run.
        """
        now = self.clock()
        self._report(session, now)
        finish_run(session, self.ref, self.owner, now, status, version, detail)

    def _report(self, session: Session, now: int) -> None:
        report_progress(session, self.ref, self.owner, now, self.duration, self._progress, self._loss, self._steps)


@dataclass(slots=True)
class EvaluationLease(WorkLease[EvaluationRef]):
    """Of one evaluation."""

    def advance(self, progress: float) -> None:
        """Notes how far the evaluation is, from 0 to 1, and keeps the lease.

        Raises:
            LeaseLostError: another worker has it.
        """
        self._progress = progress
        self.keep()

    def finish(self, result: EvaluationResult | None, detail: str | None = None) -> None:
        """Ends the evaluation, unless another worker has it."""
        body = None if result is None else result.model_dump(mode="json")
        try:
            with write_session(self.engine) as session:
                finish_evaluation(session, self.ref, self.owner, self.clock(), body, detail)
        except LeaseLostError:
            log.warning("evaluation_lost", evaluation_id=self.ref.evaluation_id)

    def _report(self, session: Session, now: int) -> None:
        report_evaluation(session, self.ref, self.owner, now, self.duration, self._progress)
