"""What a loop has gathered and earned, from running sums: the cost does not grow with the rows of decisions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.tables import REWARD_CHUNK, JoinerCountRow, LoopRow, RewardSumRow

CURVE_BUCKETS: Final = 50
# Two-sided 95 % of the normal distribution.
Z_95: Final = 1.959964

CountName = Literal[
    "decisions",
    "feedback",
    "late_feedback",
    "dangling_feedback",
    "duplicate_decisions",
    "conflicting_decisions",
    "duplicate_feedback",
    "duplicate_activations",
    "dead_letters",
    "unusable_rewards",
]
COUNT_NAMES: Final[tuple[CountName, ...]] = get_args(CountName)


@dataclass(frozen=True, slots=True)
class RewardEstimate:
    """Mean of the joined rewards; `interval` is the normal 95 % interval of the mean, None below two experiences."""

    experiences: int
    mean_reward: float
    interval: tuple[float, float] | None
    closed_by_timeout: int


@dataclass(frozen=True, slots=True)
class VersionReward:
    """What the decisions of one model version earned; `model_version` is None where no version decided."""

    model_version: int | None
    reward: RewardEstimate


@dataclass(frozen=True, slots=True)
class RewardBucket:
    """A stretch of the reward curve; `last_decided_at` is the newest decision's in it."""

    first_sequence: int
    last_sequence: int
    mean_reward: float
    last_decided_at: int


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """Counts of events by name (see CountName), and the rewards: in all, by version, and along the sequence."""

    last_sequence: int
    published_sequence: int
    counts: dict[CountName, int]
    reward: RewardEstimate | None
    versions: Sequence[VersionReward]
    curve: Sequence[RewardBucket]

    @property
    def share_closed_by_timeout(self) -> float:
        """Of all experiences, those whose window ended with something missing; 0 where there are none."""
        return 0.0 if self.reward is None else self.reward.closed_by_timeout / self.reward.experiences


def read_statistics(session: Session, tenant: str, loop_id: str) -> LoopStatistics:
    """All zeros where the joiner has written nothing of the loop yet."""
    of = RewardSumRow
    loop = session.get(LoopRow, (tenant, loop_id))
    counts = select(JoinerCountRow.name, JoinerCountRow.count).where(
        JoinerCountRow.tenant == tenant, JoinerCountRow.loop_id == loop_id
    )
    found = dict(session.execute(counts).tuples().all())
    by_version = (
        select(
            of.model_version,
            func.sum(of.experiences),
            func.sum(of.reward_sum),
            func.sum(of.reward_square_sum),
            func.sum(of.closed_by_timeout),
        )
        .where(of.tenant == tenant, of.loop_id == loop_id)
        .group_by(of.model_version)
        .order_by(of.model_version)
    )
    sums = {row[0]: _Sums(int(row[1]), row[2], row[3], int(row[4])) for row in session.execute(by_version)}
    last_sequence = 0 if loop is None else loop.last_sequence
    return LoopStatistics(
        last_sequence=last_sequence,
        published_sequence=0 if loop is None else loop.published_sequence,
        counts={name: found.get(name, 0) for name in COUNT_NAMES},
        reward=_estimate(sums.values()) if sums else None,
        versions=[VersionReward(version or None, _estimate([part])) for version, part in sums.items()],
        curve=_read_curve(session, tenant, loop_id, last_sequence),
    )


def _read_curve(session: Session, tenant: str, loop_id: str, last_sequence: int) -> list[RewardBucket]:
    of = RewardSumRow
    chunks = max(1, math.ceil(math.ceil(last_sequence / REWARD_CHUNK) / CURVE_BUCKETS))
    bucket = of.chunk // chunks
    query = (
        select(bucket, func.sum(of.reward_sum) / func.sum(of.experiences), func.max(of.last_decided_at))
        .where(of.tenant == tenant, of.loop_id == loop_id)
        .group_by(bucket)
        .order_by(bucket)
    )
    width = chunks * REWARD_CHUNK
    return [
        RewardBucket(index * width + 1, min((index + 1) * width, last_sequence), mean, last_decided_at)
        for index, mean, last_decided_at in session.execute(query)
    ]


@dataclass(frozen=True, slots=True)
class _Sums:
    experiences: int
    reward: float
    reward_square: float
    closed_by_timeout: int


def _estimate(parts: Iterable[_Sums]) -> RewardEstimate:
    parts = list(parts)
    count = sum(part.experiences for part in parts)
    mean = sum(part.reward for part in parts) / count
    interval = None
    if count > 1:
        squares = sum(part.reward_square for part in parts)
        variance = max(0.0, squares - count * mean * mean) / (count - 1)
        half = Z_95 * math.sqrt(variance / count)
        interval = (mean - half, mean + half)
    return RewardEstimate(count, mean, interval, sum(part.closed_by_timeout for part in parts))
