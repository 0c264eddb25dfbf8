"""What statistics warn of."""

import pytest

from services.gateway.statistics import _warnings
from shared.db.statistics import LoopStatistics, RewardEstimate
from shared.domain import TrainingRun
from shared.loop_settings import Loop, LoopSettings


def loop_of(**more: object) -> Loop:
    body = {"modalities": {"title": {"kind": "text"}}, "close_on_first_feedback": False}
    return Loop("acme", "news", LoopSettings.model_validate(body | more), 1, 0)


def earned(mean: float, variance: float, experiences: int = 100, by_timeout: int = 0) -> LoopStatistics:
    reward = RewardEstimate(experiences, mean, None, by_timeout, variance)
    return LoopStatistics(experiences, experiences, {}, reward, [], [])


@pytest.mark.parametrize(
    ("found", "warning"),
    [
        (earned(0.5, 0.25), None),
        (earned(0.99, 1e-4), None),
        (earned(0.5, 0.26), "Rewards lie outside of `reward.range`, 0 to 1"),
        (earned(1.2, 0.1), "Rewards lie outside of `reward.range`, 0 to 1"),
        (earned(9e14, 1e28), "Rewards lie outside of `reward.range`, 0 to 1"),
        (earned(0.3, 1e-17), "All 100 rewards are alike, about 0.3"),
        (earned(0.3, 0.0, experiences=10), None),
    ],
)
def test_rewards_out_of_range_or_all_alike_are_told(found: LoopStatistics, warning: str | None) -> None:
    warnings = _warnings(loop_of(), found, None)
    assert [one.partition(":")[0] for one in warnings] == ([] if warning is None else [warning])


def test_a_range_a_thousand_times_wider_warns_of_the_same() -> None:
    wide = loop_of(reward={"range": [0, 1000]})
    assert _warnings(wide, earned(500, 250_000), None) == []
    assert len(_warnings(wide, earned(500, 260_000), None)) == 1
    assert len(_warnings(wide, earned(300, 1e-7), None)) == 1


def test_a_single_action_and_a_run_that_failed_are_told() -> None:
    failed = TrainingRun("acme", "news", "r", "fine_tune", "failed", 0, {}, detail="the loss is nan")
    single = loop_of(actions=[{"id": "only"}])
    action, run = _warnings(single, LoopStatistics(0, 0, {}, None, [], []), failed)
    assert "nothing to choose" in action
    assert "the loss is nan" in run
