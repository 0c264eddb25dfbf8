"""One evaluation from its lease to its end, whatever comes of it.

Shapes: N rows, A candidates of the longest, and one place more for what a target would choose besides them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from uuid_utils import uuid7

from services.trainer.candidates import load_networks
from services.trainer.covering import JoinerBehindError, wait_for_joiner
from services.trainer.evaluated_rows import EvaluatedRow, EvaluatedRows, EvaluationError, read_evaluated_rows
from services.trainer.experiences import Replay, chunks
from services.trainer.leasing import EvaluationLease
from services.trainer.observing import RunOutcome, WorkObserver
from services.trainer.scoring import HeldOutRow, held_out_rows, score
from services.trainer.selecting import selection_warnings
from services.trainer.settings import TrainerSettings
from shared.clocks import wall
from shared.db.engine import read_session, write_session
from shared.db.loops import read_loop
from shared.db.tables import LoopRow
from shared.domain import Clock, Doubles, Evaluation, EvaluationRef, ModelRef, ModelVersion
from shared.evaluation.doubly_robust import LoggedChoices
from shared.evaluation.evaluation import EvaluationLog, EvaluationResult, evaluate
from shared.evaluation.expected_rewards import progressive_means
from shared.evaluation.settings import SUM_TOLERANCE, EvaluationSettings, ModelVersionTarget
from shared.loop_settings import Loop
from shared.networks.parts import load_policy
from shared.networks.trunk_files import TrunkError
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.evaluations import take_evaluation
from shared.registry.manifest import Manifest
from shared.registry.training_runs import LeaseLostError
from shared.registry.versions import read_version

log: Final = structlog.get_logger(__name__)

# How far an evaluation is once its rows are read.
READ: Final = 0.6
# Decisions that are looked up at once: databases bound the parameters of a query.
LOOKED_UP: Final = 500


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Does evaluations one after the other; blocks. `sleep` takes seconds."""

    engine: Engine
    artifacts: ArtifactStore
    replay: Replay
    settings: TrainerSettings
    clock: Clock
    sleep: Callable[[float], None] = time.sleep
    observer: WorkObserver = field(default_factory=lambda: WorkObserver(CollectorRegistry(), wall))

    def run(self, ref: EvaluationRef) -> None:
        """Does an evaluation, unless it is done or somebody else's."""
        owner, duration = str(uuid7()), round(self.settings.lease_seconds * 1e6)
        with write_session(self.engine) as session:
            evaluation = take_evaluation(session, ref, owner, self.clock(), duration)
        if evaluation is None:
            return
        lease = EvaluationLease(self.engine, ref, owner, duration, self.clock)
        logger = log.bind(loop_id=ref.loop_id, evaluation_id=ref.evaluation_id)
        outcome: RunOutcome = "failed"
        try:
            lease.finish(self._result(evaluation, lease))
        except LeaseLostError:
            outcome = "lost"
            logger.warning("evaluation_lost")
        except (EvaluationError, JoinerBehindError, ArtifactError, TrunkError) as error:
            logger.warning("evaluation_failed", reason=str(error))
            lease.finish(None, str(error))
        except Exception:
            logger.exception("evaluation_failed")
            lease.finish(None, "an unexpected error; the trainer's log tells more")
        else:
            outcome = "succeeded"
            logger.info("evaluation_finished")
        self.observer.evaluated(outcome)

    def _result(self, evaluation: Evaluation, lease: EvaluationLease) -> EvaluationResult:
        wait = self.settings.joiner_seconds
        wait_for_joiner(self.engine, evaluation.covers, wait, self.clock, self.sleep, lease.keep)
        settings, limit = EvaluationSettings.model_validate(evaluation.settings), self.settings.evaluation_rows
        with read_session(self.engine) as session:
            loop = read_loop(session, evaluation.tenant, evaluation.loop_id)
            if loop is None:
                raise EvaluationError("the loop is gone")
            now = evaluation.requested_at
            told = lambda read: lease.advance(READ * read / limit)  # noqa: E731 - one line
            found = read_evaluated_rows(session, loop, settings, now, limit, told)
            biases = selection_warnings(session, loop, settings, now)
        lease.advance(READ)
        rewards = self._by_version if isinstance(settings.target, ModelVersionTarget) else _by_log
        rows = rewards(loop, settings, found, lease) if found.rows else None
        if rows is None:
            raise EvaluationError(_why_none(found))
        clip = math.inf if settings.clip is None else settings.clip
        generator = np.random.default_rng(loop.settings.learning.seed)
        result = evaluate(rows, settings.estimators, loop.settings.reward.range, clip, generator)
        return result.model_copy(update={"warnings": result.warnings + biases})

    def _by_version(
        self, loop: Loop, settings: EvaluationSettings, found: EvaluatedRows, lease: EvaluationLease
    ) -> EvaluationLog | None:
        """What the version does and expects on rows that it has not learned from."""
        assert isinstance(settings.target, ModelVersionTarget)
        version = self._version(loop, int(settings.target.model_version))
        manifest = Manifest.model_validate_json(self.artifacts.get(version.manifest_sha256))
        _, statistics = load_policy(manifest.architecture, self.artifacts.get(manifest.parts["policy"]))
        self.replay.trunks.of(manifest.architecture)
        new = {row.decision_id: row for row in found.rows if row.first_sequence > version.covers_sequence}
        if not new:
            raise EvaluationError(
                f"version {version.version} has learned from every experience of the window: "
                "decisions made since then are needed"
            )
        since = _last_sequence(self.engine, loop) - version.covers_sequence
        scored = self._held_out(replace(loop, settings=manifest.settings), new, since, lease)
        if not scored:
            return None
        networks = load_networks(manifest, self.artifacts)
        scores = score(networks, statistics, scored, loop.settings.exploration, lease.keep)
        low, high = manifest.settings.reward.range
        rows = [
            replace(new[one.experience.row.decision_id], target=target[: len(one.actions)])
            for one, target in zip(scored, scores.probabilities, strict=True)
        ]
        return _log(rows, low + (high - low) * scores.expected_rewards, found)

    def _held_out(
        self, loop: Loop, new: dict[str, EvaluatedRow], newest: int, lease: EvaluationLease
    ) -> list[HeldOutRow]:
        """The rows of these decisions, among the newest so many, that networks can read, in order of the decisions."""
        read = self.replay.read(loop, min(newest, self.settings.evaluation_rows), lease.keep)
        experiences = [one for one in read if one.row.decision_id in new]
        rows: list[HeldOutRow] = []
        for chunk in chunks(experiences, LOOKED_UP):
            lease.keep()
            rows += held_out_rows(chunk, self.replay.read_decisions(loop, chunk), loop.settings.reward.range)
        return sorted(rows, key=lambda row: row.experience.row.decided_at)

    def _version(self, loop: Loop, number: int) -> ModelVersion:
        with read_session(self.engine) as session:
            version = read_version(session, ModelRef(loop.tenant, loop.loop_id, number))
        if version is None:
            raise EvaluationError(f"version {number} is gone")
        return version


def _last_sequence(engine: Engine, loop: Loop) -> int:
    """The last sequence of the loop's experiences."""
    with read_session(engine) as session:
        row = session.get(LoopRow, (loop.tenant, loop.loop_id))
        return 0 if row is None else row.last_sequence


def _by_log(loop: Loop, settings: EvaluationSettings, found: EvaluatedRows, lease: EvaluationLease) -> EvaluationLog:
    """What a target that is written down does; what it earns is expected from rows before."""
    rows = found.rows
    low, high = loop.settings.reward.range
    rewards = np.array([row.reward for row in rows])
    ids, taken = [row.action_ids for row in rows], [row.taken for row in rows]
    expected = progressive_means([row.key for row in rows], ids, taken, rewards, (low + high) / 2)
    lease.keep()
    return _log(rows, expected, found)


def _log(rows: list[EvaluatedRow], expected_NA: Doubles, found: EvaluatedRows) -> EvaluationLog:
    width = max(len(row.action_ids) for row in rows)
    logged, target = np.zeros((2, len(rows), width + 1))
    for index, row in enumerate(rows):
        assert row.target is not None
        logged[index, : len(row.probabilities)] = row.probabilities
        target[index, : len(row.target)] = row.target
        # Nobody could have drawn it.
        besides = 1.0 - float(row.target.sum())
        target[index, width] = besides if besides > SUM_TOLERANCE else 0.0
    return EvaluationLog(
        logged=LoggedChoices(
            np.array([row.taken for row in rows], np.int64), logged, np.array([row.reward for row in rows])
        ),
        target=target,
        expected=np.pad(expected_NA, ((0, 0), (0, 1))),
        clusters=[row.cluster for row in rows],
        candidates=np.array([row.allowed for row in rows], np.int64),
        without_propensity=found.without_propensity,
        immature=found.immature,
    )


def _why_none(found: EvaluatedRows) -> str:
    """What to tell where no row is left to go by."""
    return (
        "no experience to evaluate on: of those in the window "
        f"{found.without_propensity} have no propensity between 0 and 1, and {found.immature} are not matured"
    )
