"""Rollouts: begun, led and ended by callers, and at once in this gateway's memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.gateway.bodies import RolloutPlanRequest, RolloutRequest
from services.gateway.directory import Directory, ReadArtifact
from services.gateway.fitting import Fitting
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit
from shared.db.engine import read_session, write_session
from shared.db.statistics import read_statistics
from shared.domain import Clock, ModelRef
from shared.evaluation.rollout_plan import HopelessError, Plan, plan_rollout
from shared.loop_settings import Loop
from shared.registry.manifest import Manifest
from shared.registry.rollouts import (
    Refusal,
    RolloutRefusedError,
    end_rollout,
    hold_rollout,
    read_rollout,
    read_rollout_events,
    read_rollouts,
    start_rollout,
)
from shared.registry.versions import AliasMove, read_alias_moves, read_version
from shared.rollouts import Rollout, RolloutEvent, RolloutRef
from shared.security import ApiKey

Verb = Literal["pause", "resume", "promote", "rollback"]

PROBLEMS: Final[dict[Refusal, ProblemType]] = {
    "unknown_version": ProblemType.UNKNOWN_MODEL_VERSION,
    "version_not_ready": ProblemType.VERSION_NOT_READY,
    "version_collected": ProblemType.VERSION_COLLECTED,
    "version_serves": ProblemType.VERSION_SERVES,
    "under_way": ProblemType.ROLLOUT_UNDER_WAY,
    "ended": ProblemType.ROLLOUT_ENDED,
    "champion_moved": ProblemType.CHAMPION_MOVED,
}


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Every call blocks on the database."""

    engine: Engine
    directory: Directory
    read_artifact: ReadArtifact
    fitting: Fitting
    clock: Clock

    def start(self, caller: ApiKey, loop: Loop, request: RolloutRequest) -> Rollout:
        """The rollout, begun.

        Raises:
            Problem: it cannot begin.
        """
        ref = ModelRef(loop.tenant, loop.loop_id, request.number)
        with read_session(self.engine) as session:
            self._refuse_unusable(session, loop, ref)
        return self._write(
            caller,
            loop,
            "start",
            lambda session, now, by: start_rollout(session, ref, request.settings, now, by),
        )

    def lead(self, caller: ApiKey, loop: Loop, rollout_id: str, verb: Verb) -> Rollout:
        """What came of a rollout that somebody leads by hand.

        Raises:
            Problem: there is none of this id, or it has ended.
        """
        ref = RolloutRef(loop.tenant, loop.loop_id, rollout_id)
        rollout, _ = self.read(loop, rollout_id)
        if verb == "promote":
            with read_session(self.engine) as session:
                self._refuse_unusable(session, loop, rollout.model)

        def act(session: Session, now: int, by: str) -> Rollout:
            match verb:
                case "pause":
                    return hold_rollout(session, ref, "paused", now, by)
                case "resume":
                    return hold_rollout(session, ref, "running", now, by)
                case "promote":
                    return end_rollout(session, ref, "promoted", now, by, "by hand", rollout.figures)
                case "rollback":
                    return end_rollout(session, ref, "rolled_back", now, by, "by hand", rollout.figures)

        return self._write(caller, loop, verb, act)

    def read(self, loop: Loop, rollout_id: str) -> tuple[Rollout, list[RolloutEvent]]:
        """A rollout with its steps.

        Raises:
            Problem: there is none of this id.
        """
        ref = RolloutRef(loop.tenant, loop.loop_id, rollout_id)
        with read_session(self.engine) as session:
            rollout = read_rollout(session, ref)
            if rollout is None:
                raise Problem(ProblemType.UNKNOWN_ROLLOUT, "The loop has no rollout of this id.", "rollout_id")
            return rollout, read_rollout_events(session, ref)

    def read_page(self, loop: Loop, limit: int, before: str | None) -> list[Rollout]:
        """Newest first."""
        with read_session(self.engine) as session:
            return read_rollouts(session, loop.tenant, loop.loop_id, limit, before)

    def plan(self, loop: Loop, request: RolloutPlanRequest) -> tuple[Plan, float]:
        """How many decisions a rollout would take, and the base reward that this rests on.

        Raises:
            Problem: it would come to no verdict, or no reward is known yet.
        """
        with read_session(self.engine) as session:
            earned = read_statistics(session, loop.tenant, loop.loop_id).reward
        if earned is not None and request.base_reward is None:
            base, variance = earned.mean_reward, earned.variance
        elif request.base_reward is not None:
            base, variance = request.base_reward, None
        else:
            raise Problem(ProblemType.HOPELESS_ROLLOUT, "Nothing was earned yet: give `base_reward`.", "base_reward")
        low, high = loop.settings.reward.range
        tolerance = loop.settings.rollout.tolerance
        try:
            return plan_rollout(base, request.lift, request.share, tolerance, variance, high - low), base
        except HopelessError as hopeless:
            raise Problem(ProblemType.HOPELESS_ROLLOUT, f"{hopeless}.".capitalize()) from None

    def read_moves(self, loop: Loop, limit: int, before: int | None) -> list[AliasMove]:
        """Who moved which alias, newest first."""
        with read_session(self.engine) as session:
            return read_alias_moves(session, loop.tenant, loop.loop_id, limit, before)

    def _write(self, caller: ApiKey, loop: Loop, verb: str, act: Callable[[Session, int, str], Rollout]) -> Rollout:
        now, by = self.clock(), f"key {caller.key_id}"
        try:
            with write_session(self.engine) as session:
                rollout = act(session, now, by)
                subject = f"loops/{loop.loop_id}/rollouts/{rollout.rollout_id}"
                add_audit(session, caller.tenant, caller.key_id, verb, subject, now)
        except RolloutRefusedError as refused:
            raise Problem(PROBLEMS[refused.refusal], f"{refused}.") from None
        self.directory.refresh()
        return rollout

    def _refuse_unusable(self, session: Session, loop: Loop, ref: ModelRef) -> None:
        version = read_version(session, ref)
        if version is None:
            raise Problem(ProblemType.UNKNOWN_MODEL_VERSION, "The loop has no version of this number.", "model_version")
        try:
            manifest = Manifest.model_validate_json(self.read_artifact(version.manifest_sha256))
        except ValidationError:
            raise Problem(ProblemType.VERSION_NOT_READY, "Its manifest cannot be read.", "model_version") from None
        self.fitting.refuse_misfit(session, loop, manifest, "model_version")
