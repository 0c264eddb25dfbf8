"""What is to become of a rollout, by what its arms have shown: pure functions of evidence, settings and time.

α of all guardrails together is .002, of the alarms .001 each; promotion asks for one-sided 95 %.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from shared.evaluation.arm_comparison import ArmComparison, Difference
from shared.evaluation.arm_counts import DrawTest, ShareTest
from shared.evaluation.paired_seconds import PairedSeconds
from shared.evaluation.segment_comparisons import SegmentComparisons
from shared.loop_settings import GuardrailSettings
from shared.rollouts import Figures, Rollout

REWARD_ALPHA: Final = 0.0015
COUNT_ALPHA: Final = 0.0001
SEGMENT_ALPHA: Final = 0.0002
ALARM_ALPHA: Final = 0.001
PROMOTION_ALPHA: Final = 0.05
# Of a shadow's contexts: more that it cannot score roll it back.
MOST_FAILED: Final = 0.05
LEAST_SCORED: Final = 50
MICROSECOND: Final = timedelta(microseconds=1)

Course = Literal["go_on", "step", "promote", "roll_back", "stop", "hold"]


@dataclass(slots=True)
class Evidence:
    """What both arms of a rollout have shown."""

    rewards: ArmComparison = field(default_factory=ArmComparison)
    # Decisions of the version whose reward is known, by step.
    matured: Counter[int] = field(default_factory=Counter)
    arms: ShareTest = field(default_factory=ShareTest)
    draws: DrawTest = field(default_factory=DrawTest)
    # What the ladder had to rescue: errors, numbers that are not finite, a version that is gone.
    rescued: PairedSeconds = field(default_factory=PairedSeconds)
    slow: PairedSeconds = field(default_factory=PairedSeconds)
    collapsed: ShareTest = field(default_factory=lambda: ShareTest(one_sided=True))
    segments: SegmentComparisons = field(default_factory=SegmentComparisons)
    # Contexts that the version scored as a shadow, and those that it could not.
    scored: int = 0
    failed: int = 0

    def figures(self) -> Figures:
        """For people and for the record; a bound that is infinite is None."""
        found = self.difference()
        return {
            "decisions": found.decisions,
            "champion_decisions": found.champion_decisions,
            "mean_reward": found.mean,
            "champion_mean_reward": found.champion_mean,
            "difference": found.difference,
            "difference_lower": _finite(found.lower),
            "difference_upper": _finite(found.upper),
            "assigned": self.arms.count,
            "assigned_expected": self.arms.expected,
            "scored": self.scored,
            "failed": self.failed,
            "rescued": self.rescued.count,
            "champion_rescued": self.rescued.champion_count,
            "slow": self.slow.count,
            "champion_slow": self.slow.champion_count,
            "collapsed": self.collapsed.count,
            "champion_collapsed": self.collapsed.total - self.collapsed.count,
            **self._worst_segment(),
        }

    def _worst_segment(self) -> Figures:
        """Nothing where the loop names no segments."""
        worst = self.segments.worst(SEGMENT_ALPHA)
        if worst is None:
            return {}
        segment, found = worst
        return {
            "segments": len(self.segments),
            "worst_segment": segment,
            "worst_segment_decisions": found.decisions,
            "worst_segment_difference": found.difference,
            "worst_segment_difference_upper": _finite(found.upper),
        }

    def difference(self) -> Difference:
        """Its lower bound is that of a promotion, its upper one that of the guardrail."""
        return self.rewards.difference(PROMOTION_ALPHA, REWARD_ALPHA)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a rollout goes on, and why."""

    course: Course
    reason: str | None = None


def judge_rollout(rollout: Rollout, evidence: Evidence, now: int) -> Verdict:
    """By alarms first, then guardrails; what neither holds back goes on by its steps."""
    if (reason := _alarm(evidence)) is not None:
        return Verdict("stop", reason)
    found = evidence.difference()
    if (reason := _breach(rollout.settings.guardrails, evidence, found)) is not None:
        return Verdict("roll_back", reason)
    if rollout.status != "running":
        return Verdict("go_on")
    if _has_done_step(rollout, evidence, now):
        if not rollout.is_at_last_step:
            return Verdict("step")
        if rollout.percent > 0 and found.lower > -rollout.settings.tolerance * abs(found.champion_mean):
            return Verdict("promote", "reward")
    if now - rollout.started_at >= rollout.settings.max_duration // MICROSECOND:
        return Verdict("hold", "no verdict within its time")
    return Verdict("go_on")


def _alarm(evidence: Evidence) -> str | None:
    if evidence.arms.refuted(ALARM_ALPHA):
        return "sample ratio mismatch: the arms do not have their shares"
    if evidence.draws.refuted(ALARM_ALPHA):
        return "propensity mismatch: actions are not drawn by their logged probabilities"
    return None


def _breach(guardrails: GuardrailSettings, evidence: Evidence, found: Difference) -> str | None:
    scored = evidence.scored + evidence.failed
    if scored >= LEAST_SCORED and evidence.failed > MOST_FAILED * scored:
        return "failures as a shadow"
    if found.upper < 0:
        return "reward"
    if evidence.rescued.refuted(COUNT_ALPHA):
        return "failures"
    if evidence.slow.refuted(COUNT_ALPHA):
        return "latency"
    if evidence.collapsed.refuted(COUNT_ALPHA):
        return "entropy"
    worst = evidence.segments.worst(SEGMENT_ALPHA)
    if worst is not None and worst[1].upper < -guardrails.segment_tolerance * abs(worst[1].champion_mean):
        # Not which: the value of a field belongs in no log; the figures tell.
        return "fairness"
    return None


def _has_done_step(rollout: Rollout, evidence: Evidence, now: int) -> bool:
    settings = rollout.settings
    seen = evidence.matured[rollout.step] if rollout.percent > 0 else evidence.scored
    return seen >= settings.min_decisions and now - rollout.step_started_at >= settings.step_duration // MICROSECOND


def _finite(bound: float) -> float | None:
    return bound if math.isfinite(bound) else None
