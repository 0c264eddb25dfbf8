import math

import torch

from services.policy.abstaining import give_baselines, uncertain
from shared.networks.policy import CandidateScores

EXPECTED = torch.tensor([[0.2, 0.6, 0.5], [0.2, 0.6, 0.5]], dtype=torch.float64)
VARIANCE = torch.tensor([[0.0, 0.04, 0.0], [0.0, 0.01, 9.0]], dtype=torch.float64)
# What the noise of the outcome is does not matter.
SCORES = CandidateScores(EXPECTED, VARIANCE, torch.full_like(VARIANCE, math.nan))
ALL = torch.ones(2, 3, dtype=torch.bool)


def test_abstains_where_the_lower_bound_of_the_best_action_lies_below() -> None:
    # .6 - 1.96 · .2 = .208 and .6 - 1.96 · .1 = .404.
    assert uncertain(SCORES, ALL, [0, 0], 0.3).tolist() == [True, False]
    assert uncertain(SCORES, ALL, [0, 0], 0.2).tolist() == [False, False]
    assert uncertain(SCORES, ALL, [0, 0], 0.5).tolist() == [True, True]


def test_never_without_a_baseline_that_may_be_drawn() -> None:
    allowed = ALL.clone()
    allowed[1, 0] = False
    assert uncertain(SCORES, allowed, [None, 0], 1.0).tolist() == [False, False]


def test_an_action_that_may_not_be_drawn_is_not_the_best() -> None:
    allowed = ALL.clone()
    allowed[:, 1] = False
    assert uncertain(SCORES, allowed, [0, 0], 0.45).tolist() == [False, True]


def test_the_baseline_is_given_for_certain() -> None:
    even = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    given = give_baselines(even, torch.tensor([False, True]), [2, 2])
    assert given.tolist() == [even[0].tolist(), [0.0, 0.0, 1.0]]
    assert even[1].sum() == 1.0
