import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import integrate, stats
from scipy.special import softmax
from torch import Tensor

from shared.functional.exploration import (
    boltzmann_probabilities,
    draw_action,
    epsilon_greedy_probabilities,
    sample_action,
    square_cb_probabilities,
    thompson_probabilities,
    upper_confidence_probabilities,
    with_floor,
)

B, A = 3, 5
NAN, INF = float("nan"), float("inf")
SCORES = hnp.arrays("float64", (B, A), elements=st.sampled_from([-1e4, -1.0, 0.0, 0.5, 0.5, 1.0, 1e4])).map(
    torch.from_numpy
)
VARIANCES = hnp.arrays("float64", (B, A), elements=st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 1e6])).map(torch.from_numpy)
MASKS = hnp.arrays("bool", (B, A)).map(torch.from_numpy)
ORDERS = st.permutations(range(A))


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


# Epsilon-greedy


def test_epsilon_greedy_by_hand() -> None:
    q = torch.tensor([[1.0, 3.0, 2.0, 0.0], [3.0, 1.0, 3.0, 0.0]])
    found = epsilon_greedy_probabilities(q, 0.2)
    torch.testing.assert_close(found, torch.tensor([[0.05, 0.85, 0.05, 0.05], [0.45, 0.05, 0.45, 0.05]]).double())
    masked = epsilon_greedy_probabilities(q, 0.2, torch.tensor([[True, False, True, True], [False] * 4]))
    assert masked.tolist() == [pytest.approx([0.2 / 3, 0.0, 0.8 + 0.2 / 3, 0.2 / 3]), [0.0] * 4]


@given(SCORES, MASKS)
def test_epsilon_one_is_uniform_and_epsilon_zero_is_greedy(q: Tensor, mask: Tensor) -> None:
    uniform = epsilon_greedy_probabilities(q, 1.0, mask)
    torch.testing.assert_close(uniform, mask.double() / mask.sum(-1, keepdim=True).clamp(min=1))
    for scores, allowed, p in zip(q, mask, epsilon_greedy_probabilities(q, 0.0, mask), strict=True):
        best = scores[allowed].max() if allowed.any() else torch.tensor(INF)
        greedy = allowed & (scores == best)
        torch.testing.assert_close(p, greedy.double() / greedy.sum().clamp(min=1))


# Boltzmann


def test_boltzmann_by_hand() -> None:
    found = boltzmann_probabilities(torch.tensor([[0.0, 2 * math.log(3.0)]]), 2.0)
    torch.testing.assert_close(found, row(0.25, 0.75), atol=1e-7, rtol=0.0)


@given(SCORES, st.sampled_from([1e-3, 0.1, 1.0, 1e3]))
def test_boltzmann_is_scipys_softmax(q: Tensor, temperature: float) -> None:
    found = boltzmann_probabilities(q, temperature)
    np.testing.assert_allclose(found.numpy(), softmax(q.numpy() / temperature, axis=-1), atol=1e-12)


@given(SCORES, MASKS)
def test_boltzmann_limits(q: Tensor, mask: Tensor) -> None:
    greedy, uniform = (epsilon_greedy_probabilities(q, epsilon, mask) for epsilon in (0.0, 1.0))
    for cold in (0.0, 1e-320, 1e-3):
        torch.testing.assert_close(boltzmann_probabilities(q, cold, mask), greedy, atol=1e-12, rtol=0.0)
    for hot in (1e300, INF):
        torch.testing.assert_close(boltzmann_probabilities(q, hot, mask), uniform, atol=1e-12, rtol=0.0)


# Thompson


@given(st.floats(-10, 10), st.floats(-4, 2), st.floats(-4, 2))
def test_thompson_of_two_is_the_normal_distribution_of_the_difference(gap: float, s: float, t: float) -> None:
    first = stats.norm.cdf(gap / math.hypot(10**s, 10**t))
    found = thompson_probabilities(row(gap, 0.0), row(10**s, 10**t).square())
    torch.testing.assert_close(found, row(first, 1 - first), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [
        ([0.0, 0.5, 1.0], [1.0, 1.0, 1.0]),
        ([0.5, 0.502, 0.4], [0.002, 0.002, 0.5]),  # two actions well known, one hardly
        ([0.5, 0.502, 0.4], [0.002, 0.002, 10.0]),
        ([0.0, 1e-6, -1e-6, 0.0], [1e-6, 1e-6, 1e-6, 1.0]),
        ([1e4, 1e4 + 0.1, 1e4 - 3], [0.1, 0.15, 2.0]),
        ([0.0, 1e-5, 1e-3, 0.1, -0.5], [1e-5, 1e-3, 0.1, 1.0, 0.3]),
    ],
)
def test_thompson_is_scipys_integral(mean: list[float], deviation: list[float]) -> None:
    mu, sigma = np.array(mean), np.array(deviation)

    def density(x: float, action: int) -> float:
        others = stats.norm.cdf(x, np.delete(mu, action), np.delete(sigma, action))
        return float(stats.norm.pdf(x, mu[action], sigma[action]) * others.prod())

    edges = np.unique(np.concatenate([mu + z * sigma for z in range(-8, 9, 2)]))
    expected = [
        sum(integrate.quad(density, low, high, (action,), epsabs=1e-9)[0] for low, high in itertools.pairwise(edges))
        for action in range(len(mu))
    ]
    assert sum(expected) == pytest.approx(1.0, abs=1e-6)
    tolerance = 3e-3 if sigma.max() > 1e5 * sigma.min() else 1e-3
    torch.testing.assert_close(
        thompson_probabilities(row(*mu), row(*sigma**2)), row(*expected), atol=tolerance, rtol=0.0
    )


def test_thompson_is_monte_carlo() -> None:
    rng = np.random.default_rng(0)
    mean, deviation, draws = rng.normal(0.5, 0.1, 12), rng.uniform(0.01, 0.3, 12), 200_000
    wins = np.bincount((mean + deviation * rng.normal(size=(draws, 12))).argmax(1), minlength=12)
    p = thompson_probabilities(row(*mean), row(*deviation**2))[0].numpy()
    assert (np.abs(wins - draws * p) <= 4 * np.sqrt(draws * p * (1 - p)) + 1).all()


@given(SCORES, VARIANCES, MASKS)
def test_thompson_is_a_distribution_over_the_allowed(mean: Tensor, variance: Tensor, mask: Tensor) -> None:
    p = thompson_probabilities(mean.masked_fill(~mask, NAN), variance.masked_fill(~mask, NAN), mask)
    torch.testing.assert_close(p.sum(-1), mask.any(-1).double(), atol=1e-12, rtol=0.0)
    assert bool((p >= 0).all() & (p[~mask] == 0).all())
    for b in mask.any(-1).nonzero()[:, 0]:
        alone = thompson_probabilities(mean[b, mask[b]][None], variance[b, mask[b]][None])[0]
        torch.testing.assert_close(p[b, mask[b]], alone, atol=1e-9, rtol=0.0)


@given(SCORES, VARIANCES, ORDERS, st.sampled_from([-8.0, 1e4]), st.sampled_from([2.0**-20, 1024.0]))
def test_thompson_follows_a_permutation_a_shift_and_a_change_of_unit(
    mean: Tensor, variance: Tensor, order: list[int], shift: float, unit: float
) -> None:
    p = thompson_probabilities(mean, variance)
    permuted = thompson_probabilities(mean[:, order] + shift, variance[:, order])
    torch.testing.assert_close(permuted, p[:, order], atol=1e-9, rtol=0.0)
    torch.testing.assert_close(thompson_probabilities(mean * unit, variance * unit**2), p, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize("actions", [1, 2, 10, 1000])
@pytest.mark.parametrize("variance", [0.0, 1e-300, 1e-12, 1.0, 1e12])
@pytest.mark.parametrize("mean", [0.0, -1e4, 1e300])
def test_thompson_of_equals_is_uniform(actions: int, variance: float, mean: float) -> None:
    p = thompson_probabilities(row(*[mean] * actions), row(*[variance] * actions))
    torch.testing.assert_close(p, torch.full_like(p, 1 / actions), atol=1e-12, rtol=0.0)


@given(SCORES)
def test_thompson_without_variance_is_greedy(mean: Tensor) -> None:
    greedy = epsilon_greedy_probabilities(mean, 0.0)
    torch.testing.assert_close(thompson_probabilities(mean, torch.zeros(B, A)), greedy, atol=1e-12, rtol=0.0)


def test_thompson_of_many_actions_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, variance = torch.randn(3, 1000, generator=generator), torch.rand(3, 1000, generator=generator)
    p = thompson_probabilities(mean, variance)
    assert p.dtype == torch.float64
    torch.testing.assert_close(p.sum(-1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(p[1:2], thompson_probabilities(mean[1:2], variance[1:2]))


# Floor and draw


def test_floor_by_hand() -> None:
    p = row(0.5, 0.5, 0.0, NAN)
    mask = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(with_floor(p, 0.3, mask), row(0.45, 0.45, 0.1, 0.0))


@given(SCORES, MASKS, st.floats(0, 1))
def test_floor_keeps_a_distribution_and_bounds_it(q: Tensor, mask: Tensor, floor: float) -> None:
    p = with_floor(boltzmann_probabilities(q, 1.0, mask), floor, mask)
    least = floor * mask.double() / mask.sum(-1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(p.sum(-1), mask.any(-1).double())
    assert bool((p >= least - 1e-15).all() & (p[~mask] == 0).all())


def test_draw_by_hand() -> None:
    p = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]] * 4, dtype=torch.float64)
    u = torch.tensor([0.0, math.nextafter(0.5, 0.0), 0.5, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert draw_action(p, u).tolist() == [1, 1, 3, 3]


def test_draw_beyond_a_total_that_rounding_left_short_is_the_last_possible_action() -> None:
    p = row(*[0.1] * 10, 0.0)
    largest = math.nextafter(1.0, 0.0)
    assert sum([0.1] * 10) <= largest
    assert draw_action(p, torch.tensor([largest], dtype=torch.float64)).tolist() == [9]


def test_draw_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="positive"):
        draw_action(row(0.0, 0.0), torch.zeros(1))


@given(
    hnp.arrays("float64", st.integers(1, 60), elements=st.sampled_from([0.0, 0.0, 1e-20, 0.1, 0.3, 1 / 3, 1.0])),
    st.floats(0, 1, exclude_max=True),
)
def test_draw_is_the_stated_rule_in_plain_python(weights: NDArray[np.float64], u: float) -> None:
    assume(weights.sum() > 0)
    p = (weights / weights.sum()).tolist()
    possible = [a for a, share in enumerate(p) if share > 0]
    sums = itertools.accumulate(p)
    expected = next((a for a, total in enumerate(sums) if total > u), possible[-1])
    assert draw_action(row(*p), torch.tensor([u], dtype=torch.float64)).tolist() == [expected]
    assert expected in possible


def test_sample_draws_by_probability_and_returns_it() -> None:
    p = torch.tensor([[0.1, 0.0, 0.6, 0.3]], dtype=torch.float64).expand(20_000, -1)
    action, probability = sample_action(p, torch.Generator().manual_seed(0))
    counts = torch.bincount(action, minlength=4).numpy()
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 20_000 * np.array([0.1, 0.6, 0.3])).pvalue > 0.01
    torch.testing.assert_close(probability, p[0, action])


def test_sample_is_a_draw_with_the_generators_numbers() -> None:
    p = boltzmann_probabilities(torch.randn(50, 4, generator=torch.Generator().manual_seed(1)), 1.0)
    u = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    action, _ = sample_action(p, torch.Generator().manual_seed(0))
    assert action.tolist() == draw_action(p, u).tolist()


# Upper confidence bound and SquareCB


def test_upper_confidence_by_hand() -> None:
    mean, variance = row(0.5, 0.4, 0.3), row(0.0, 0.04, 0.09)
    assert upper_confidence_probabilities(mean, variance, 0.0).tolist() == [[1.0, 0.0, 0.0]]
    assert upper_confidence_probabilities(mean, variance, 0.8).tolist() == [[0.0, 1.0, 0.0]]
    assert upper_confidence_probabilities(mean, variance, 2.0).tolist() == [[0.0, 0.0, 1.0]]
    assert upper_confidence_probabilities(mean, variance, 2.0, torch.tensor([[True, True, False]]))[0, 1] == 1.0


@given(SCORES, VARIANCES, MASKS)
def test_the_bound_of_linucb_is_the_greatest_among_the_drawn(mean: Tensor, variance: Tensor, mask: Tensor) -> None:
    found = upper_confidence_probabilities(mean, variance, 1.5, mask).numpy()
    bound = np.where(mask, mean.numpy() + 1.5 * np.sqrt(variance.numpy()), -np.inf)
    best = (bound == bound.max(-1, keepdims=True)) & mask.numpy()
    np.testing.assert_allclose(found, best / best.sum(-1, keepdims=True).clip(1))


def test_square_cb_by_hand() -> None:
    found = square_cb_probabilities(row(1.0, 0.5, 0.0, 0.9), 10.0)
    rest = [1 / (4 + 5), 1 / (4 + 10), 1 / (4 + 1)]
    assert found.tolist() == [pytest.approx([1 - sum(rest), *rest])]
    tied = square_cb_probabilities(row(1.0, 1.0, 0.0), 3.0, torch.tensor([[True, True, True]]))
    assert tied.tolist() == [pytest.approx([5 / 12, 5 / 12, 1 / 6])]


@given(SCORES, MASKS)
def test_square_cb_limits(q: Tensor, mask: Tensor) -> None:
    uniform = mask.double() / mask.sum(-1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(square_cb_probabilities(q, 0.0, mask), uniform)
    greedy = epsilon_greedy_probabilities(q, 0.0, mask)
    torch.testing.assert_close(square_cb_probabilities(q, 1e12, mask), greedy, atol=1e-9, rtol=0)


# All of them


@pytest.mark.parametrize("explore", [epsilon_greedy_probabilities, boltzmann_probabilities, square_cb_probabilities])
@given(q=SCORES, mask=MASKS, order=ORDERS, amount=st.sampled_from([0.0, 1e-3, 0.3, 1.0]))
def test_what_is_forbidden_never_matters(
    explore: Callable[[Tensor, float, Tensor], Tensor], q: Tensor, mask: Tensor, order: list[int], amount: float
) -> None:
    clean = explore(q, amount, mask)
    torch.testing.assert_close(clean.sum(-1), mask.any(-1).double())
    for stray in (NAN, INF, -INF):
        torch.testing.assert_close(explore(q.masked_fill(~mask, stray), amount, mask), clean)
    torch.testing.assert_close(explore(q[:, order], amount, mask[:, order]), clean[:, order])


def test_all_is_float64_whatever_comes_in() -> None:
    q = torch.tensor([[1.0, 2.0]], dtype=torch.float16)
    for p in (
        epsilon_greedy_probabilities(q, 0.1),
        boltzmann_probabilities(q, 0.1),
        thompson_probabilities(q, q),
        upper_confidence_probabilities(q, q, 1.0),
        square_cb_probabilities(q, 1.0),
        with_floor(q, 0.1),
        sample_action(q, torch.Generator())[1],
    ):
        assert p.dtype == torch.float64
