"""Statistics against what numpy makes of the same rewards."""

from collections import defaultdict

import numpy as np
import pytest
from sqlalchemy import Engine

from shared.db.engine import read_session, write_session
from shared.db.statistics import COUNT_NAMES, CURVE_BUCKETS, LoopStatistics, read_statistics
from shared.db.tables import REWARD_CHUNK, JoinerCountRow, LoopRow, RewardSumRow

LOOP = {"tenant": "acme", "loop_id": "news"}


def store(engine: Engine, rewards: list[float], versions: list[int], by_timeout: int = 0) -> LoopStatistics:
    """Sums of experiences 1, 2, …, decided at 10, 20, …, of which the first few were closed by timeout."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, version in enumerate(versions):
        groups[index // REWARD_CHUNK, version].append(index)
    with write_session(engine) as session:
        row = LoopRow(**LOOP, settings={}, settings_revision=1, created_at=1)
        row.last_sequence, row.published_sequence = len(rewards), len(rewards) - 1
        session.add(row)
        for (chunk, version), indices in groups.items():
            session.add(
                RewardSumRow(
                    **LOOP,
                    chunk=chunk,
                    model_version=version,
                    experiences=len(indices),
                    closed_by_timeout=sum(index < by_timeout for index in indices),
                    reward_sum=sum(rewards[index] for index in indices),
                    reward_square_sum=sum(rewards[index] ** 2 for index in indices),
                    last_decided_at=10 * (max(indices) + 1),
                )
            )
    return read(engine)


def read(engine: Engine) -> LoopStatistics:
    with read_session(engine) as session:
        return read_statistics(session, **LOOP)


def test_of_nothing_there_is_nothing(engine: Engine) -> None:
    found = read(engine)
    assert found == LoopStatistics(0, 0, dict.fromkeys(COUNT_NAMES, 0), None, [], [])
    assert found.share_closed_by_timeout == 0


def test_counts_are_by_name_and_loop(engine: Engine) -> None:
    with write_session(engine) as session:
        session.add(JoinerCountRow(**LOOP, name="late_feedback", count=3))
        session.add(JoinerCountRow(tenant="acme", loop_id="other", name="decisions", count=9))
    assert read(engine).counts == dict.fromkeys(COUNT_NAMES, 0) | {"late_feedback": 3}


def test_rewards_by_version_have_normal_intervals(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    rewards = rng.normal(0.3, 2.0, 500)
    versions = rng.integers(0, 3, 500)
    found = store(engine, rewards.tolist(), versions.tolist(), by_timeout=25)
    assert [one.model_version for one in found.versions] == [None, 1, 2]
    for version, one in enumerate(found.versions):
        own = rewards[versions == version]
        half = 1.959964 * own.std(ddof=1) / np.sqrt(len(own))
        assert one.reward.experiences == len(own)
        assert one.reward.mean_reward == pytest.approx(own.mean())
        assert one.reward.interval == pytest.approx((own.mean() - half, own.mean() + half))
    assert found.reward is not None
    assert found.reward.mean_reward == pytest.approx(rewards.mean())
    assert found.share_closed_by_timeout == 25 / 500
    assert (found.last_sequence, found.published_sequence) == (500, 499)


def test_one_experience_has_no_interval_and_equal_ones_a_point(engine: Engine) -> None:
    found = store(engine, [0.1, 0.7, 0.7, 0.7], [1, 2, 2, 2])
    assert found.versions[0].reward.interval is None
    assert found.versions[1].reward.interval == pytest.approx((0.7, 0.7))


@pytest.mark.parametrize("count", [1, 19, 20, 21, 999, 1000, 1001, 2345])
def test_the_curve_covers_every_experience_once_in_at_most_fifty_buckets(engine: Engine, count: int) -> None:
    rewards = np.random.default_rng(count).random(count)
    curve = store(engine, rewards.tolist(), [1 + 2 * index // count for index in range(count)]).curve
    assert len(curve) <= CURVE_BUCKETS
    edges = [edge for bucket in curve for edge in (bucket.first_sequence, bucket.last_sequence + 1)]
    assert edges[0] == 1
    assert edges[-1] == count + 1
    assert edges[1:-1:2] == edges[2::2]
    for bucket in curve:
        part = rewards[bucket.first_sequence - 1 : bucket.last_sequence]
        assert bucket.mean_reward == pytest.approx(part.mean())
        if len(part) == 1:
            assert bucket.interval is None
        else:
            half = 1.959964 * part.std(ddof=1) / np.sqrt(len(part))
            assert bucket.interval == pytest.approx((part.mean() - half, part.mean() + half))
        assert bucket.last_decided_at == 10 * bucket.last_sequence


def test_a_bucket_names_the_version_that_decided_most_of_it(engine: Engine) -> None:
    curve = store(engine, [0.0] * 60, [0] * 15 + [1] * 5 + [1] * 8 + [2] * 12 + [2] * 20).curve
    assert [bucket.model_version for bucket in curve] == [None, 2, 2]
