"""The head against scikit-learn's Bayesian ridge, and against numpy's own solution of the normal equations."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import BayesianRidge

from shared.networks.online_head import PRIOR_COUNT, PRIOR_VARIANCE, HeadStatistics, posterior

FEATURES, SLOTS = 5, 3
RNG = np.random.default_rng(0)
PHI = RNG.normal(size=(300, FEATURES))
REWARDS = PHI @ RNG.normal(size=FEATURES) + 0.3 + RNG.normal(scale=0.2, size=300)
WEIGHTS = RNG.uniform(0.5, 2.0, 300)
WEIGHTS /= WEIGHTS.mean()
CHOSEN = RNG.integers(0, SLOTS, 300)
PRIOR = RNG.normal(size=(SLOTS, FEATURES + 1))
QUERY = torch.from_numpy(RNG.normal(size=(7, FEATURES)))


def statistics(rows: slice = slice(None), slots: np.ndarray = CHOSEN, weights: np.ndarray = WEIGHTS) -> HeadStatistics:
    columns = (torch.from_numpy(column[rows]) for column in (PHI, slots, REWARDS, weights))
    return HeadStatistics.empty(SLOTS, FEATURES).add(*columns)


def test_agrees_with_bayesian_ridge_under_its_precisions() -> None:
    with_constant = np.column_stack([PHI, np.ones(len(PHI))])
    ridge = BayesianRidge(fit_intercept=False).fit(with_constant, REWARDS)
    one_slot = statistics(slots=np.zeros(300, np.int64), weights=np.ones(300))
    belief = posterior(one_slot, torch.zeros(SLOTS, FEATURES + 1, dtype=torch.float64), ridge.lambda_ / ridge.alpha_)
    mean, variance = belief.scores(QUERY)
    query = np.column_stack([QUERY, np.ones(len(QUERY))])
    epistemic = np.einsum("nf,fg,ng->n", query, ridge.sigma_ * ridge.alpha_, query)
    np.testing.assert_allclose(mean[:, 0], ridge.predict(query), rtol=1e-9)
    np.testing.assert_allclose(variance[:, 0] / belief.noise_variance, epistemic, rtol=1e-9)


@pytest.mark.parametrize("precision", [0.1, 1.0, 30.0])
def test_agrees_with_the_normal_equations_for_weights_and_a_prior(precision: float) -> None:
    belief = posterior(statistics(), torch.from_numpy(PRIOR), precision)
    mean, variance = belief.scores(QUERY)
    query = np.column_stack([QUERY, np.ones(len(QUERY))])
    loss = 0.0
    for slot in range(SLOTS):
        rows = slot == CHOSEN
        phi, weights = np.column_stack([PHI[rows], np.ones(rows.sum())]), WEIGHTS[rows]
        matrix = precision * np.eye(FEATURES + 1) + phi.T @ (weights[:, None] * phi)
        solution = np.linalg.solve(matrix, precision * PRIOR[slot] + phi.T @ (weights * REWARDS[rows]))
        loss += weights @ (REWARDS[rows] - phi @ solution) ** 2 + precision * np.sum((solution - PRIOR[slot]) ** 2)
        np.testing.assert_allclose(mean[:, slot], query @ solution, rtol=1e-8)
        leverage = np.einsum("nf,fg,ng->n", query, np.linalg.inv(matrix), query)
        np.testing.assert_allclose(variance[:, slot] / belief.noise_variance, leverage, rtol=1e-8)
    noise = (PRIOR_COUNT * PRIOR_VARIANCE + loss) / (PRIOR_COUNT + len(REWARDS))
    assert float(belief.noise_variance) == pytest.approx(noise, rel=1e-8)


def test_sums_do_not_depend_on_the_order_or_the_portions() -> None:
    whole = statistics()
    order = RNG.permutation(300)
    apart = HeadStatistics.empty(SLOTS, FEATURES)
    for portion in np.array_split(order, 7):
        apart = apart.add(*(torch.from_numpy(column[portion]) for column in (PHI, CHOSEN, REWARDS, WEIGHTS)))
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(tensor, apart.tensors()[name])


def test_corrected_rewards_are_those_of_the_same_experiences_with_other_rewards() -> None:
    columns = [torch.from_numpy(column) for column in (PHI, CHOSEN, REWARDS, WEIGHTS)]
    features, slots, rewards, weights = columns
    empty = HeadStatistics.empty(SLOTS, FEATURES)
    corrected = empty.add(*columns).correct(features, slots, 3 - rewards, rewards, weights)
    expected = empty.add(features, slots, 3 - rewards, weights)
    for name, tensor in corrected.tensors().items():
        torch.testing.assert_close(tensor, expected.tensors()[name])


def test_without_experience_known_and_unknown_actions_are_alike() -> None:
    belief = posterior(HeadStatistics.empty(SLOTS, FEATURES), torch.zeros(SLOTS, FEATURES + 1, dtype=torch.float64))
    mean, variance = belief.scores(QUERY)
    assert mean.shape == (7, SLOTS + 1)
    assert not mean.any()
    assert (variance == variance[:, :1]).all()
    torch.testing.assert_close(variance[:, 0], PRIOR_VARIANCE * (QUERY.square().sum(1) + 1))


def test_an_unknown_action_is_the_mean_of_the_priors_with_the_prior_variance() -> None:
    belief = posterior(statistics(), torch.from_numpy(PRIOR))
    mean, variance = belief.scores(QUERY)
    query = np.column_stack([QUERY, np.ones(len(QUERY))])
    np.testing.assert_allclose(mean[:, -1], query @ PRIOR.mean(0))
    assert (variance[:, -1:] > variance[:, :-1]).all()


def test_certainty_grows_with_experience_and_the_noise_is_found() -> None:
    prior = torch.zeros(SLOTS, FEATURES + 1, dtype=torch.float64)
    one, some, many = (posterior(statistics(slice(0, count)), prior, 1e-3) for count in (1, 60, 300))
    uncertain = [float(belief.scores(QUERY)[1][:, :-1].mean()) for belief in (one, some, many)]
    assert uncertain == sorted(uncertain, reverse=True)
    # The rewards were made with a deviation of 0.2.
    assert float(many.noise_variance) == pytest.approx(0.2**2, rel=0.2)


def test_weights_count_against_one_another_alone() -> None:
    belief, thousandfold = (
        posterior(statistics(weights=scale * WEIGHTS), torch.from_numpy(PRIOR)) for scale in (1, 1000)
    )
    for scores, others in zip(belief.scores(QUERY), thousandfold.scores(QUERY), strict=True):
        torch.testing.assert_close(scores, others)


def test_a_million_updates_stay_as_exact_as_one_solution() -> None:
    rows, width = 1_000_000, 8
    generator = np.random.default_rng(3)
    phi = generator.normal(size=(rows, width)) + 1.0
    rewards = 0.2 + phi @ generator.normal(size=width) + generator.normal(scale=0.1, size=rows)
    slots, weights = torch.zeros(rows, dtype=torch.int64), torch.ones(rows)
    summed = HeadStatistics.empty(1, width)
    for start in range(0, rows, 5000):
        part = slice(start, start + 5000)
        columns = torch.from_numpy(phi[part]), slots[part], torch.from_numpy(rewards[part]), weights[part]
        summed = summed.add(*columns)
    belief = posterior(summed, torch.zeros(1, width + 1, dtype=torch.float64), precision=1.0)
    design = np.vstack([np.column_stack([phi, np.ones(rows)]), np.eye(width + 1)])
    solution, loss, *_ = np.linalg.lstsq(design, np.append(rewards, np.zeros(width + 1)))
    np.testing.assert_allclose(belief.mean[0], solution, rtol=1e-9)
    assert float(belief.noise_variance) == pytest.approx(float(loss[0]) / rows, rel=1e-4)


HOUR = 3_600_000_000
# Over two hundred half-lives: older sums fade to nothing.
TIMES = 1_790_000_000_000_000 + np.sort(RNG.integers(0, 200 * HOUR, 300))


def forgetting(order: np.ndarray, portions: int) -> HeadStatistics:
    summed = HeadStatistics.empty(SLOTS, FEATURES, HOUR)
    for portion in np.array_split(order, portions):
        columns = (torch.from_numpy(column[portion]) for column in (PHI, CHOSEN, REWARDS, WEIGHTS, TIMES))
        summed = summed.add(*columns)
    return summed


def test_what_is_forgotten_is_what_its_weight_says() -> None:
    shares = np.exp2((TIMES - TIMES.max()) / HOUR)
    faded = posterior(forgetting(np.arange(300), 1), torch.from_numpy(PRIOR))
    for slot in range(SLOTS):
        rows = slot == CHOSEN
        phi, weights = np.column_stack([PHI[rows], np.ones(rows.sum())]), (shares * WEIGHTS)[rows]
        weights *= shares.sum() / (shares * WEIGHTS).sum()
        matrix = np.eye(FEATURES + 1) + phi.T @ (weights[:, None] * phi)
        solution = np.linalg.solve(matrix, PRIOR[slot] + phi.T @ (weights * REWARDS[rows]))
        np.testing.assert_allclose(faded.mean[slot], solution, rtol=1e-9)


def test_forgetting_goes_by_the_time_of_the_decision_whenever_it_was_learned() -> None:
    in_order, one_by_one = forgetting(np.arange(300), 1), forgetting(np.arange(300), 300)
    shuffled = forgetting(RNG.permutation(300), 11)
    for name, tensor in in_order.tensors().items():
        assert torch.equal(tensor, one_by_one.tensors()[name]), "to the bit"
        torch.testing.assert_close(tensor, shuffled.tensors()[name])


def test_a_restated_reward_fades_with_its_decision() -> None:
    columns = [torch.from_numpy(column) for column in (PHI, CHOSEN, REWARDS, WEIGHTS, TIMES)]
    features, slots, rewards, weights, times = columns
    corrected = forgetting(np.arange(300), 3).correct(features, slots, 3 - rewards, rewards, weights, times)
    expected = HeadStatistics.empty(SLOTS, FEATURES, HOUR).add(features, slots, 3 - rewards, weights, times)
    for name, tensor in corrected.tensors().items():
        torch.testing.assert_close(tensor, expected.tensors()[name])
