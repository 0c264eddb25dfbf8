import pytest
import torch

from shared.functional.regularization import l2_sp_penalty


def test_penalty_by_hand() -> None:
    parameters = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    pretrained = [torch.tensor([0.0, 2.0]), torch.tensor([[1.0]])]
    assert l2_sp_penalty(parameters, pretrained, 0.5).item() == 2.5


def test_nothing_has_moved_or_nothing_is_tuned() -> None:
    weights = [torch.randn(3, 2)]
    assert l2_sp_penalty(weights, weights, 10.0).item() == 0.0
    assert l2_sp_penalty([], [], 10.0).item() == 0.0


def test_from_zero_it_is_the_weight_decay_of_sgd() -> None:
    """One SGD step on the penalty alone is one step of torch's own weight decay of 2λ."""
    start, coefficient = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), 0.05
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    l2_sp_penalty([ours], [torch.zeros(4, 3)], coefficient).backward()
    torch.optim.SGD([ours], lr=0.1).step()
    theirs.grad = torch.zeros(4, 3)
    torch.optim.SGD([theirs], lr=0.1, weight_decay=2 * coefficient).step()
    torch.testing.assert_close(ours, theirs)


def test_gradient_is_that_of_finite_differences() -> None:
    theta, start = torch.randn(3, dtype=torch.float64, requires_grad=True), torch.ones(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: l2_sp_penalty([t], [start], 0.3), (theta,))


def test_another_number_of_tensors_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        l2_sp_penalty([torch.ones(1), torch.ones(1)], [torch.ones(1)], 1.0)
