import torch
from torch import nn

from shared.functional.adaptation import adapter, adapter_loss

D, R = 6, 2


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_adapter_by_hand() -> None:
    h = torch.tensor([[1.0, 2.0]])
    # down: 1·1 - 2·1 + 2 = 1, GELU(1) = Φ(1) = 0.8413447, up: (2, 0) times that plus (0, 0.5)
    adapted = adapter(
        h, torch.tensor([[1.0, -1.0]]), torch.tensor([2.0]), torch.tensor([[2.0], [0.0]]), torch.tensor([0.0, 0.5])
    )
    torch.testing.assert_close(adapted, torch.tensor([[2.6826894, 2.5]]))


def test_adapter_is_two_linear_layers_around_a_gelu() -> None:
    down, up = nn.Linear(D, R), nn.Linear(R, D)
    h = draw(5, D, seed=0)
    expected = h + nn.Sequential(down, nn.GELU(), up)(h)
    torch.testing.assert_close(adapter(h, down.weight, down.bias, up.weight, up.bias), expected, atol=1e-5, rtol=1e-5)


def test_adapter_starts_as_the_identity() -> None:
    h = draw(5, D, seed=0)
    adapted = adapter(h, draw(R, D, seed=1), draw(R, seed=2), torch.zeros(D, R), torch.zeros(D))
    torch.testing.assert_close(adapted, h, rtol=0.0, atol=0.0)


def test_adapter_gradients_are_those_of_finite_differences() -> None:
    shapes = [(3, D), (R, D), (R,), (D, R), (D,)]
    inputs = [draw(*shape, seed=seed).double().requires_grad_() for seed, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(adapter, inputs)


def test_adapter_loss_by_hand() -> None:
    loss = adapter_loss(torch.tensor(1.0), [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])], 0.1)
    torch.testing.assert_close(loss, torch.tensor(2.4))
    assert adapter_loss(torch.tensor(1.0), [], 0.1).item() == 1.0


def test_adapter_loss_decays_as_the_weight_decay_of_sgd() -> None:
    start, beta = draw(4, seed=0), 0.05
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    adapter_loss(ours.sum(), [ours], beta).backward()
    torch.optim.SGD([ours], lr=0.1).step()
    theirs.sum().backward()
    torch.optim.SGD([theirs], lr=0.1, weight_decay=2 * beta).step()
    torch.testing.assert_close(ours, theirs)
