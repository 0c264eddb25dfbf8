"""Selection rates and rewards by segment, held against tables made by hand and fairlearn's own difference."""

import pytest
from fairlearn.metrics import demographic_parity_difference
from scipy.stats import norm

from services.trainer.fairness import fairness_of

# Forty from NL: 30 loans, all repaid. Fifty from DE: 10 loans, half of them repaid. Three from BE. Two of nowhere.
SEGMENTS = ["NL"] * 40 + ["DE"] * 50 + ["BE"] * 3 + [None] * 2
ACTIONS = ["loan"] * 30 + ["none"] * 10 + ["loan"] * 10 + ["none"] * 40 + ["loan"] * 5
REWARDS = [1.0] * 30 + [0.0] * 10 + [1.0, 0.0] * 5 + [0.0] * 40 + [1.0] * 5


def test_rates_and_rewards_by_hand() -> None:
    found = fairness_of(SEGMENTS, ACTIONS, REWARDS, 30)
    assert {name: one.decisions for name, one in found.segments.items()} == {"NL": 40, "DE": 50}
    assert found.left_out == 5
    nl, de = found.segments["NL"], found.segments["DE"]
    assert (nl.selection_rates["loan"].value, nl.selection_rates["none"].value) == (0.75, 0.25)
    assert (de.selection_rates["loan"].value, nl.reward.value, de.reward.value) == (0.2, 0.75, 0.1)
    assert found.demographic_parity_difference == pytest.approx({"loan": 0.55, "none": 0.55})
    assert found.reward_difference == pytest.approx(0.65)


def test_the_difference_is_that_of_fairlearn() -> None:
    found = fairness_of(SEGMENTS[:90], ACTIONS[:90], REWARDS[:90], 1)
    chosen = [int(action == "loan") for action in ACTIONS[:90]]
    theirs = demographic_parity_difference(chosen, chosen, sensitive_features=SEGMENTS[:90])
    assert found.demographic_parity_difference is not None
    assert found.demographic_parity_difference["loan"] == pytest.approx(theirs)


def test_intervals_are_wilsons_and_the_normal_one() -> None:
    found = fairness_of(SEGMENTS, ACTIONS, REWARDS, 30).segments["NL"]
    z, rate, n = norm.ppf(0.975), 0.75, 40
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (rate * (1 - rate) / n + z**2 / (4 * n**2)) ** 0.5
    assert found.selection_rates["loan"].interval == pytest.approx((centre - half, centre + half))
    spread = z * (rate * (1 - rate) / (n - 1)) ** 0.5
    assert found.reward.interval == pytest.approx((rate - spread, rate + spread))


@pytest.mark.parametrize(("least", "told"), [(51, set()), (45, {"DE"})])
def test_too_few_decisions_are_not_compared(least: int, told: set[str]) -> None:
    found = fairness_of(SEGMENTS, ACTIONS, REWARDS, least)
    assert set(found.segments) == told
    assert (found.demographic_parity_difference, found.reward_difference) == (None, None)
    assert found.left_out == 95 - sum(one.decisions for one in found.segments.values())
