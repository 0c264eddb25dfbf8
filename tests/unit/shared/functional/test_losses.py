import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import GaussianNLLLoss
from torch.nn.functional import cross_entropy

from shared.functional.losses import aleatoric_loss, reward_guided_loss


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_reward_guided_loss_by_hand() -> None:
    loss = reward_guided_loss(torch.tensor([0.5, 0.25]).log(), torch.tensor([1.0, -2.0]))
    torch.testing.assert_close(loss, torch.tensor(0.5 * (0.6931472 - 2 * 1.3862944)))


def test_reward_guided_loss_is_the_weighted_cross_entropy() -> None:
    logits, action, reward = draw(7, 4), torch.arange(7) % 4, draw(7, seed=1)
    taken = logits.log_softmax(-1)[range(7), action]
    expected = (cross_entropy(logits, action, reduction="none") * reward).mean()
    torch.testing.assert_close(reward_guided_loss(taken, reward), expected, atol=1e-5, rtol=1e-5)


def test_its_expected_gradient_climbs_the_expected_reward() -> None:
    """Over all actions, weighted by their probability, it is the gradient of Σ π(a) R(a), negated."""
    logits, reward = draw(5).double().requires_grad_(), draw(5, seed=1).double()
    policy = logits.softmax(-1)
    loss = sum(p.detach() * reward_guided_loss(p.log()[None], r[None]) for p, r in zip(policy, reward, strict=True))
    (ours,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (climbing,) = torch.autograd.grad((policy * reward).sum(), logits)
    torch.testing.assert_close(ours, -climbing)


def test_aleatoric_loss_by_hand() -> None:
    loss = aleatoric_loss(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0]), torch.tensor([4.0, 1.0]).log())
    torch.testing.assert_close(loss, torch.tensor((4 / 8 + 0.5 * 1.3862944) / 2))


@given(st.integers(0, 1000))
def test_aleatoric_loss_is_the_gaussian_log_likelihood(seed: int) -> None:
    prediction, target, log_variance = draw(3, 16, seed=seed)
    expected = GaussianNLLLoss(full=False)(prediction, target, log_variance.exp())
    torch.testing.assert_close(aleatoric_loss(prediction, target, log_variance), expected, atol=1e-5, rtol=1e-5)


def test_aleatoric_loss_is_least_at_the_mean_squared_error() -> None:
    error = 3 * draw(1000).double()
    log_variance = error.square().mean().log().requires_grad_()
    (slope,) = torch.autograd.grad(aleatoric_loss(torch.zeros(1000), error, log_variance), log_variance)
    assert slope.item() == pytest.approx(0.0, abs=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    inputs = [x.double().requires_grad_() for x in draw(3, 4)]
    assert torch.autograd.gradcheck(aleatoric_loss, inputs)
    assert torch.autograd.gradcheck(reward_guided_loss, inputs[:2])
