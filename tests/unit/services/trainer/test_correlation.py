"""Whether the action follows the state, held against numpy's corrcoef and scikit-learn's ridge regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.trainer.correlation import FOLDS, correlate, ridge_scores

N, F = 600, 12


def features(seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(N, F, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn[:, 0] = 3.0  # one that never changes
    return drawn * torch.logspace(-2, 2, F, dtype=torch.float64)


def test_scores_are_those_of_scikit_learns_ridge() -> None:
    states, folds = features(), torch.arange(N) % FOLDS
    targets = torch.stack([states[:, 3] > 0, states[:, 5] + states[:, 7] > 1], dim=1).double()
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=F))
    theirs = cross_val_predict(ridge, states.numpy(), targets.numpy(), cv=PredefinedSplit(folds.numpy()))
    np.testing.assert_allclose(ridge_scores(states, targets, folds), theirs, atol=1e-9)


def test_an_action_that_follows_the_state_correlates_and_a_permuted_one_does_not() -> None:
    states = features()
    taken = ["up" if one > 0 else "down" for one in states[:, 4].tolist()]
    found = correlate(taken, states, 0)
    assert found.correlation is not None
    assert found.permuted is not None
    assert found.correlation > 0.7
    assert abs(found.permuted) < 0.08
    assert found == correlate(taken, states, 0)


def test_the_average_weighs_actions_by_their_share() -> None:
    states = features()
    first = torch.where(states[:, 4] > 0, 0, 1 + torch.arange(N) % 3)
    found = correlate([f"action-{one}" for one in first.tolist()], states, 1)
    shares = np.bincount(first.numpy()) / N
    by_action = [found.by_action[f"action-{number}"] for number in range(4)]
    assert found.correlation == pytest.approx(float(np.dot(shares, [one or 0.0 for one in by_action])))
    assert (by_action[0] or 0) > max(one or 0 for one in by_action[1:])


def test_only_the_most_frequent_actions_are_looked_at() -> None:
    taken = [f"action-{number}" for number in range(24)] * (N // 24)
    taken[:24] = ["action-0"] * 24
    assert len(correlate(taken, features(), 0).by_action) == 20


@pytest.mark.parametrize("taken", [["only"] * N, ["a", "b"] * (N // 2)], ids=["one action", "a constant state"])
def test_what_is_constant_follows_nothing(taken: list[str]) -> None:
    states = features() if taken[0] == "only" else torch.zeros(N, F)
    found = correlate(taken, states, 0)
    assert (found.correlation, found.permuted) == (None, None)
    assert set(found.by_action.values()) == {None}
