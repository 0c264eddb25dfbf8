"""A loop's statistics as the API gives them."""

from collections.abc import Iterator, Mapping
from typing import Final

import structlog
from pydantic import Field
from sqlalchemy import Engine

from services.gateway.answers import Answer, Interval, Moment
from services.gateway.dead_letters import count_dead_letters
from services.gateway.moments import iso, maybe_iso
from services.gateway.stored import version_name
from shared.db import reports, statistics
from shared.db.engine import read_session
from shared.db.offsets import read_offsets
from shared.domain import TrainingRun
from shared.eventlog import EventLog, EventLogError
from shared.events import DECISIONS, FEEDBACK
from shared.loop_report import Fairness, ModalityCorrelation, ModalityImportance
from shared.loop_settings import Loop
from shared.registry.training_runs import read_last_drift, read_runs

# DESIGN section 9: a loop whose windows mostly end by themselves does not tell what came of its decisions.
HIGHEST_SHARE_BY_TIMEOUT: Final = 0.05
# Experiences before rewards are called alike, or out of range.
LEAST_TO_WARN: Final = 50
# Of the range: rewards that differ by less are alike.
ALIKE: Final = 1e-6
# Of the greatest variance, against rounding.
SLACK: Final = 1.001
CORRELATIONS_TOLD: Final = 60

log: Final = structlog.get_logger(__name__)


class RewardEstimate(Answer):
    """Mean of the joined rewards with its 95 % interval; the interval is null below two experiences."""

    experiences: int
    mean: float
    interval: Interval | None
    closed_by_timeout: int


class VersionReward(RewardEstimate):
    """What the decisions of one model version earned; null: no version decided."""

    model_version: str | None


class RewardBucket(Answer):
    """A stretch of the reward curve."""

    first_sequence: int
    last_sequence: int
    count: int
    mean: float
    interval: Interval | None = Field(description="95 %, of the mean; null of a single experience.")
    last_decided_at: Moment
    model_version: str | None = Field(description="The one that made most of its decisions; null: no version did.")


class Reported(Answer):
    """What the newest report is about: how many experiences up to which, under which version."""

    model_version: str
    sequence: int
    computed_at: Moment
    experiences: int


class CorrelationPoint(Answer):
    """How the action followed the state when a report was made; null where that could not be told."""

    model_version: str
    sequence: int
    computed_at: Moment
    correlation: float | None
    permuted: float | None


class StatisticsAnswer(Answer):
    """What a loop has gathered and earned, as far as the joiner has read the log."""

    decisions: int
    feedback: int
    experiences: int
    late_feedback: int
    dangling_feedback: int
    duplicate_decisions: int
    conflicting_decisions: int
    duplicate_feedback: int
    duplicate_activations: int
    restated: int = Field(
        description="Rewards that are other ones by a reward defined anew, or by feedback after the close."
    )
    dead_letters: int = Field(description="Of this loop. What is not known to be of a loop counts for the tenant only.")
    tenant_dead_letters: int = Field(description="Of the tenant, in `/v1/dead-letters`, that were not replayed.")
    head_sequence: int = Field(description="The last experience that the version which decides now has learned.")
    joiner_lag: dict[str, int] | None = Field(
        description="Events of each topic, of all loops, that the joiner has not read; null while the log is away."
    )
    spooled: dict[str, int] = Field(
        description="Events of each topic, of all loops, that this gateway keeps until the log is back."
    )
    share_closed_by_timeout: float
    reward: RewardEstimate | None
    reward_by_version: list[VersionReward]
    reward_curve: list[RewardBucket]
    reported: Reported | None = Field(
        description="The newest report: about every minute, and after every fine-tune. Null until there is one; then "
        "importance and correlation are null too."
    )
    modality_importance: ModalityImportance | None
    modality_correlation: ModalityCorrelation | None
    modality_correlation_history: list[CorrelationPoint] = Field(description="Of the state, oldest first.")
    apprentice_decisions: int = Field(description="In apprentice mode, by a version.")
    apprentice_matches: int = Field(description="Of those: the version's own greedy action was the baseline's.")
    apprentice_match_share: float | None
    last_drift_at: Moment | None = Field(
        description="When served expectations were last found to fail more than they used to, with `learning.on_drift`."
    )
    fairness: dict[str, Fairness] = Field(description="By segment field, as the loop's `fairness` names them.")
    warnings: list[str]


def read_statistics(
    engine: Engine,
    event_log: EventLog,
    loop: Loop,
    head_sequence: int | None,
    segment: str | None = None,
    spooled: Mapping[str, int] | None = None,
) -> StatisticsAnswer:
    """Blocks on the database.

    `head_sequence` is None where no version decides: then nothing is learned yet. `segment` asks for the fairness by
    one segment field only.
    """
    ends = _ends(event_log)
    with read_session(engine) as session:
        found = statistics.read_statistics(session, loop.tenant, loop.loop_id)
        offsets = read_offsets(session)
        tenant_dead_letters = count_dead_letters(session, loop.tenant)
        newest = reports.read_newest_report(session, loop.tenant, loop.loop_id)
        drifted_at = read_last_drift(session, loop.tenant, loop.loop_id)
        last_run = next(iter(read_runs(session, loop.tenant, loop.loop_id, limit=1)), None)
        correlations = reports.read_correlations(session, loop.tenant, loop.loop_id, CORRELATIONS_TOLD)
    report = None if newest is None else newest.report
    fairness = {} if report is None else report.fairness
    return StatisticsAnswer(
        **found.counts,
        experiences=0 if found.reward is None else found.reward.experiences,
        tenant_dead_letters=tenant_dead_letters,
        head_sequence=found.last_sequence if head_sequence is None else head_sequence,
        joiner_lag=None if ends is None else {topic: _lag(ends[topic], offsets.get(topic, {})) for topic in ends},
        spooled=dict(spooled or {}),
        share_closed_by_timeout=found.share_closed_by_timeout,
        reward=None if found.reward is None else RewardEstimate(**_estimate(found.reward)),
        reward_by_version=[
            VersionReward(model_version=version_name(row.model_version), **_estimate(row.reward))
            for row in found.versions
        ],
        reward_curve=[_bucket(bucket) for bucket in found.curve],
        reported=None if newest is None else _reported(newest),
        modality_importance=None if report is None else report.modality_importance,
        modality_correlation=None if report is None else report.modality_correlation,
        modality_correlation_history=[_point(point) for point in correlations],
        apprentice_match_share=_match_share(found.counts),
        last_drift_at=maybe_iso(drifted_at),
        fairness={name: of for name, of in fairness.items() if segment in (None, name)},
        warnings=_warnings(loop, found, last_run),
    )


def _ends(event_log: EventLog) -> dict[str, dict[int, int]] | None:
    try:
        return {topic: event_log.ends(topic) for topic in (DECISIONS, FEEDBACK)}
    except EventLogError as error:
        log.info("joiner lag is not known", reason=str(error))
        return None


def _lag(ends: Mapping[int, int], offsets: Mapping[int, int]) -> int:
    return sum(max(0, end - offsets.get(partition, 0)) for partition, end in ends.items())


def _estimate(estimate: statistics.RewardEstimate) -> dict[str, object]:
    return {
        "experiences": estimate.experiences,
        "mean": estimate.mean_reward,
        "interval": estimate.interval,
        "closed_by_timeout": estimate.closed_by_timeout,
    }


def _bucket(bucket: statistics.RewardBucket) -> RewardBucket:
    return RewardBucket(
        first_sequence=bucket.first_sequence,
        last_sequence=bucket.last_sequence,
        count=bucket.experiences,
        mean=bucket.mean_reward,
        interval=bucket.interval,
        last_decided_at=iso(bucket.last_decided_at),
        model_version=version_name(bucket.model_version),
    )


def _reported(stored: reports.StoredReport) -> Reported:
    return Reported(
        model_version=str(stored.model_version),
        sequence=stored.sequence,
        computed_at=iso(stored.computed_at),
        experiences=stored.report.experiences,
    )


def _match_share(counts: Mapping[statistics.CountName, int]) -> float | None:
    decisions = counts["apprentice_decisions"]
    return counts["apprentice_matches"] / decisions if decisions else None


def _point(point: reports.CorrelationPoint) -> CorrelationPoint:
    return CorrelationPoint(
        model_version=str(point.model_version),
        sequence=point.sequence,
        computed_at=iso(point.computed_at),
        correlation=point.correlation,
        permuted=point.permuted,
    )


def _warnings(loop: Loop, found: statistics.LoopStatistics, last_run: TrainingRun | None) -> list[str]:
    return [*_reward_warnings(loop, found), *_learning_warnings(loop, last_run)]


def _reward_warnings(loop: Loop, found: statistics.LoopStatistics) -> Iterator[str]:
    share, (low, high) = found.share_closed_by_timeout, loop.settings.reward.range
    if loop.settings.close_on_first_feedback and share > HIGHEST_SHARE_BY_TIMEOUT:
        advice = "with `close_on_first_feedback`, send feedback for every decision, zeros included"
        yield f"{share:.0%} of the experiences closed by timeout: {advice}."
    reward = found.reward
    if reward is None or reward.experiences < LEAST_TO_WARN:
        return
    # Numbers within a range vary by a quarter of its square at most (Popoviciu 1935).
    if not low <= reward.mean_reward <= high or reward.variance > ((high - low) / 2) ** 2 * SLACK:
        advice = "learning standardises by it, so that they outweigh all others; mend the metric, or the range"
        yield f"Rewards lie outside of `reward.range`, {low:g} to {high:g}: {advice}."
    if reward.variance < (ALIKE * (high - low)) ** 2:
        yield f"All {reward.experiences} rewards are alike, about {reward.mean_reward:.4g}: there is nothing to learn."


def _learning_warnings(loop: Loop, last_run: TrainingRun | None) -> Iterator[str]:
    if loop.frozen_to is not None:
        yield f"The loop is frozen: its {loop.frozen_to} serves, and nothing is learned."
    if len(loop.settings.actions) == 1:
        yield "The loop lists one action: unless decisions bring their own, there is nothing to choose."
    if last_run is not None and last_run.status == "failed":
        yield f"The last training run failed, and the version before it serves on: {last_run.detail}."
