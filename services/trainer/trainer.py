"""One training run from its lease to its end, whatever comes of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from uuid_utils import uuid7

from services.trainer.candidates import NothingToLearnError, fine_tuned_candidate, first_candidate
from services.trainer.covering import JoinerBehindError, wait_for_joiner
from services.trainer.drifting import change_sequence
from services.trainer.experiences import PreparedExperience, Replay
from services.trainer.fine_tuning import DivergedError, FineTune, fine_tune
from services.trainer.leasing import Lease
from services.trainer.observing import RunOutcome, WorkObserver
from services.trainer.process_group import ProcessesError
from services.trainer.publishing import Candidate, Publisher
from services.trainer.settings import TrainerSettings
from shared.clocks import wall
from shared.db.engine import read_session, write_session
from shared.db.loops import read_loop
from shared.domain import Clock, RunRef, TrainingRun
from shared.loop_settings import Loop
from shared.networks.trunk_files import TrunkError
from shared.networks.trunks import Trunks
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Architecture
from shared.registry.training_runs import LeaseLostError, take_lease
from shared.registry.versions import read_champion

log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trainer:
    """Does runs one after the other; blocks. `sleep` takes seconds."""

    engine: Engine
    artifacts: ArtifactStore
    replay: Replay
    publisher: Publisher
    settings: TrainerSettings
    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    trunks: Trunks = field(default_factory=Trunks)
    fine_tune: FineTune = fine_tune
    observer: WorkObserver = field(default_factory=lambda: WorkObserver(CollectorRegistry(), wall))

    def run(self, ref: RunRef) -> None:
        """Does a run, unless it is done or somebody else's."""
        owner, duration = str(uuid7()), round(self.settings.lease_seconds * 1e6)
        with write_session(self.engine) as session:
            run = take_lease(session, ref, owner, self.clock(), duration)
        if run is None:
            return
        lease = Lease(self.engine, ref, owner, duration, self.clock)
        logger = log.bind(loop_id=ref.loop_id, training_run_id=ref.training_run_id, kind=run.kind)
        with self.observer.run(run) as outcomes:
            logger.info("run_started")
            outcomes.append(self._do(run, lease, logger))

    def _do(self, run: TrainingRun, lease: Lease, logger: structlog.typing.FilteringBoundLogger) -> RunOutcome:
        try:
            loop, candidate = self._candidate(run, lease)
            self.publisher.publish(run, loop, candidate, lease)
        except LeaseLostError:
            logger.warning("run_lost")
            return "lost"
        except NothingToLearnError as reason:
            return self._finish(lease, "skipped", str(reason))
        except TrunkError as error:
            # What the library said of it is for the operator.
            logger.warning("run_failed", reason=str(error), exc_info=True)
            return self._finish(lease, "failed", str(error))
        except (DivergedError, JoinerBehindError, ArtifactError, ProcessesError) as error:
            logger.warning("run_failed", reason=str(error))
            return self._finish(lease, "failed", str(error))
        except Exception:
            logger.exception("run_failed")
            return self._finish(lease, "failed", "an unexpected error; the trainer's log tells more")
        logger.info("run_finished")
        self.observer.judged(candidate.metrics.get("gate"))
        return "succeeded" if candidate.takes_over else "skipped"

    def _candidate(self, run: TrainingRun, lease: Lease) -> tuple[Loop, Candidate]:
        seconds = self.settings.joiner_seconds
        wait_for_joiner(self.engine, run.covers, seconds, self.clock, self.sleep, lease.keep)
        with read_session(self.engine) as session:
            loop = read_loop(session, run.tenant, run.loop_id)
            champion = read_champion(session, run.tenant, run.loop_id)
        if loop is None:
            raise NothingToLearnError("the loop is gone")
        if run.kind == "initialise" and champion is not None:
            raise NothingToLearnError("the loop has a version already")
        architecture = Architecture.of(loop.settings, self.trunks.identities(loop.settings.modalities))
        if champion is None:
            # A fine-tune too makes it, where the run that should have done so has failed.
            return loop, first_candidate(loop, architecture)
        experiences = self._since_change(loop, self.replay.read(loop, self.settings.replay_experiences, lease.keep))
        with self.observer.learning(run, [one.row.traceparent for one in experiences]):
            return loop, fine_tuned_candidate(
                loop, architecture, champion, experiences, self.artifacts, self.replay, lease, self.fine_tune
            )

    def _since_change(self, loop: Loop, experiences: list[PreparedExperience]) -> list[PreparedExperience]:
        """What came after the newest change of the world: what was right before it would only contradict.

        An apprentice expects no rewards, and Q-learning rewards that are not those of a decision.
        """
        learning, mode = loop.settings.learning, loop.settings.learning_mode
        if not learning.since_drift or learning.bootstraps or mode != "online" or not experiences:
            return experiences
        with read_session(self.engine) as session:
            change = change_sequence(session, loop, min(one.row.first_sequence for one in experiences))
        if change is None:
            return experiences
        log.info("world_changed", loop_id=loop.loop_id, sequence=change)
        return [one for one in experiences if one.row.first_sequence >= change]

    def _finish(self, lease: Lease, status: Literal["skipped", "failed"], detail: str) -> RunOutcome:
        try:
            with write_session(self.engine) as session:
                lease.finish(session, status, detail=detail)
        except LeaseLostError:
            log.warning("run_lost", training_run_id=lease.ref.training_run_id)
            return "lost"
        return status
