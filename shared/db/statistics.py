"""What a loop has gathered and earned, from running sums: the cost does not grow with the rows of decisions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, get_args

from sqlalchemy import bindparam, func, select
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
    "restated",
    "dead_letters",
    "apprentice_decisions",
    "apprentice_matches",
]
COUNT_NAMES: Final[tuple[CountName, ...]] = get_args(CountName)


@dataclass(frozen=True, slots=True)
class RewardEstimate:
    """Mean of the joined rewards; `interval` is the normal 95 % interval of the mean, None below two experiences."""

    experiences: int
    mean_reward: float
    interval: tuple[float, float] | None
    closed_by_timeout: int
    # Of the rewards themselves, over all experiences.
    variance: float


@dataclass(frozen=True, slots=True)
class VersionReward:
    """What the decisions of one model version earned; `model_version` is None where no version decided."""

    model_version: int | None
    reward: RewardEstimate


@dataclass(frozen=True, slots=True)
class RewardBucket:
    """A stretch of the reward curve; `last_decided_at` is the newest decision's in it.

    A restatement changes the stretch of its decision's first experience, and adds nothing to the one of its own.
    `model_version` made most of its decisions; None where no version did.
    """

    first_sequence: int
    last_sequence: int
    experiences: int
    mean_reward: float
    interval: tuple[float, float] | None
    last_decided_at: int
    model_version: int | None


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


@dataclass(frozen=True, slots=True)
class _Sums:
    bucket: int
    model_version: int
    experiences: int
    closed_by_timeout: int
    reward: float
    reward_square: float
    last_decided_at: int


def read_statistics(session: Session, tenant: str, loop_id: str) -> LoopStatistics:
    """All zeros where the joiner has written nothing of the loop yet."""
    counts = select(JoinerCountRow.name, JoinerCountRow.count).where(
        JoinerCountRow.tenant == tenant, JoinerCountRow.loop_id == loop_id
    )
    found = dict(session.execute(counts).all())
    loop = session.get(LoopRow, (tenant, loop_id))
    last_sequence = 0 if loop is None else loop.last_sequence
    # A bucket is a whole number of chunks, so that no chunk lies in two.
    chunks = max(1, math.ceil(last_sequence / (REWARD_CHUNK * CURVE_BUCKETS)))
    sums = _read_sums(session, tenant, loop_id, chunks)
    return LoopStatistics(
        last_sequence=last_sequence,
        published_sequence=0 if loop is None else loop.published_sequence,
        counts={name: found.get(name, 0) for name in COUNT_NAMES},
        reward=_estimate(sums) if sums else None,
        versions=[
            VersionReward(version or None, _estimate([part for part in sums if part.model_version == version]))
            for version in sorted({part.model_version for part in sums})
        ],
        curve=[
            _bucket(list(parts), bucket, chunks * REWARD_CHUNK, last_sequence)
            for bucket, parts in groupby(sums, key=lambda part: part.bucket)
        ],
    )


def _read_sums(session: Session, tenant: str, loop_id: str, chunks: int) -> list[_Sums]:
    """In order of bucket and version; a bucket is so many chunks of the sequence."""
    of = RewardSumRow
    # Inline: PostgreSQL takes an expression with a parameter for another one each time.
    bucket = of.chunk // bindparam("chunks", chunks, literal_execute=True)
    query = (
        select(
            bucket,
            of.model_version,
            func.sum(of.experiences),
            func.sum(of.closed_by_timeout),
            func.sum(of.reward_sum),
            func.sum(of.reward_square_sum),
            func.max(of.last_decided_at),
        )
        .where(of.tenant == tenant, of.loop_id == loop_id)
        .group_by(bucket, of.model_version)
        .order_by(bucket, of.model_version)
    )
    return [
        _Sums(index, version, int(experiences), int(by_timeout), reward, square, decided_at)
        for index, version, experiences, by_timeout, reward, square, decided_at in session.execute(query)
    ]


def _bucket(parts: Sequence[_Sums], bucket: int, width: int, last_sequence: int) -> RewardBucket:
    estimate = _estimate(parts)
    return RewardBucket(
        first_sequence=bucket * width + 1,
        last_sequence=min((bucket + 1) * width, last_sequence),
        experiences=estimate.experiences,
        mean_reward=estimate.mean_reward,
        interval=estimate.interval,
        last_decided_at=max(part.last_decided_at for part in parts),
        model_version=max(parts, key=lambda part: part.experiences).model_version or None,
    )


def _estimate(parts: Sequence[_Sums]) -> RewardEstimate:
    count = sum(part.experiences for part in parts)
    mean = sum(part.reward for part in parts) / count
    variance = max(0.0, sum(part.reward_square for part in parts) / count - mean * mean)
    interval = None
    if count > 1:
        half = Z_95 * math.sqrt(variance / (count - 1))
        interval = (mean - half, mean + half)
    return RewardEstimate(count, mean, interval, sum(part.closed_by_timeout for part in parts), variance)
