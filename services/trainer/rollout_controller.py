"""Leads every rollout that is under way: reads what its arms have shown, and acts by the verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from services.trainer.observing import ControlMetrics
from services.trainer.rollout_evidence import Gathering
from services.trainer.shadow_reading import ShadowReader
from shared.db.engine import read_session, write_session
from shared.db.loops import read_loop
from shared.domain import Clock
from shared.evaluation.rollout_verdict import Verdict, judge_rollout
from shared.eventlog import EventLogError
from shared.registry.rollouts import (
    RolloutRefusedError,
    end_rollout,
    hold_rollout,
    open_rollouts,
    set_figures,
    step_rollout,
)
from shared.rollouts import Figures, Rollout

BY: Final = "controller"

log: Final = structlog.get_logger(__name__)


@dataclass(slots=True)
class RolloutController:
    """Looks whenever it is told to. Several may do so: what one has done, the other is refused."""

    engine: Engine
    clock: Clock
    shadows: ShadowReader
    metrics: ControlMetrics = field(default_factory=lambda: ControlMetrics(CollectorRegistry()))
    _gatherings: Mapping[str, Gathering] = field(default_factory=dict)

    def look(self) -> None:
        """One look at every rollout that is under way. Blocks on the database."""
        with read_session(self.engine) as session:
            rollouts = open_rollouts(session)
        self.metrics.under_way(len(rollouts))
        known = self._gatherings
        self._gatherings = {one.rollout_id: known.get(one.rollout_id) or Gathering(one) for one in rollouts}
        if rollouts:
            self._take_in_shadows()
        for rollout in rollouts:
            self._lead(rollout, self._gatherings[rollout.rollout_id])

    def _take_in_shadows(self) -> None:
        try:
            for scored in self.shadows.read():
                gathering = self._gatherings.get(scored.rollout_id)
                if gathering is not None:
                    gathering.evidence.scored += scored.probabilities is not None
                    gathering.evidence.failed += scored.probabilities is None
        except EventLogError as error:
            log.info("shadows_wait", error=type(error).__name__)

    def _lead(self, rollout: Rollout, gathering: Gathering) -> None:
        now = self.clock()
        with read_session(self.engine) as session:
            loop = read_loop(session, rollout.tenant, rollout.loop_id)
            if loop is None:
                return
            gathering.look(session, loop.settings, now)
        figures = gathering.evidence.figures()
        verdict = judge_rollout(rollout, gathering.evidence, now)
        if verdict.course == "go_on" and figures == rollout.figures:
            return
        try:
            self._act(rollout, verdict, figures, now)
        except RolloutRefusedError as refused:
            log.info("rollout_led_by_another", rollout_id=rollout.rollout_id, reason=str(refused))

    def _act(self, rollout: Rollout, verdict: Verdict, figures: Figures, now: int) -> None:
        ref, reason = rollout.ref, verdict.reason
        with write_session(self.engine) as session:
            match verdict.course:
                case "step":
                    step_rollout(session, ref, rollout.step, now, BY, figures)
                case "promote":
                    end_rollout(session, ref, "promoted", now, BY, reason, figures)
                case "roll_back":
                    end_rollout(session, ref, "rolled_back", now, BY, reason, figures)
                case "stop":
                    end_rollout(session, ref, "stopped", now, BY, reason, figures)
                case "hold":
                    hold_rollout(session, ref, "inconclusive", now, BY, reason, figures)
            set_figures(session, ref, figures)
        if verdict.course != "go_on":
            self.metrics.led(verdict.course)
            log.info("rollout_led", rollout_id=rollout.rollout_id, course=verdict.course, reason=reason)
