"""The planner against simulated rollouts, and what it refuses."""

import pytest

from shared.evaluation.rollout_plan import HopelessError, plan_rollout
from tests.unit.shared.evaluation.arms import Arms, judge


@pytest.mark.parametrize(
    ("base", "lift", "share"), [(0.5, -0.3, 0.1), (0.5, 0.2, 0.5), (0.1, -0.5, 0.3), (0.3, 0.0, 0.5)]
)
def test_nearly_all_simulated_rollouts_end_within_the_plan(base: float, lift: float, share: float) -> None:
    tolerance = 0.05 if lift else 0.3
    plan = plan_rollout(base, lift, share, tolerance)
    arms, seeds = Arms(base, base * (1 + lift), (share,)), range(40)
    outcomes = [judge(arms.draw(seed), 0, plan.decisions + 25, tolerance, least=1) for seed in seeds]
    assert sum(outcome.course == plan.verdict for outcome in outcomes) >= 36
    # Nor is it far too careful: half of them take more than a quarter of it.
    assert sorted(outcome.decisions for outcome in outcomes)[20] > plan.decisions / 4
    assert plan.of_version == pytest.approx(plan.decisions * share, abs=1)


def test_what_is_rarer_or_closer_takes_more() -> None:
    rare = [plan_rollout(base, -0.3, 0.1, 0.05).decisions for base in (0.5, 0.1, 0.02, 0.005)]
    assert rare == sorted(rare)
    close = [plan_rollout(0.5, lift, 0.5, 0.0).decisions for lift in (0.4, 0.2, 0.1, 0.05)]
    assert close == sorted(close)


@pytest.mark.parametrize(("base", "difference"), [(10.5, -0.01), (10.5, 0.01), (-0.5, -0.01)])
def test_where_rewards_begin_changes_little(base: float, difference: float) -> None:
    """They may lie from 10 to 11, or from -1 to 0: their difference and their spread are what counts."""
    plan = plan_rollout(base, difference / abs(base), 0.1, 0.0, variance=0.25)
    even = plan_rollout(0.5, difference / 0.5, 0.1, 0.0)
    assert plan.decisions == pytest.approx(even.decisions, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [((0.5, 0.0, 0.5, 0.0), "tolerance"), ((0.0, 0.2, 0.5, 0.05), "never vary"), ((1e-7, 0.01, 0.01, 0.0), "billion")],
)
def test_the_hopeless_is_refused(arguments: tuple[float, float, float, float], why: str) -> None:
    with pytest.raises(HopelessError, match=why):
        plan_rollout(*arguments)
