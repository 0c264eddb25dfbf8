import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import Tensor

from shared.functional.value_learning import q_learning_target, q_learning_update

VALUES = st.floats(-1e4, 1e4)


def test_target_by_hand() -> None:
    target = q_learning_target(
        torch.tensor([1.0, 1.0]), torch.tensor([0.9, 0.0]), torch.tensor([[2.0, 4.0], [2.0, 4.0]])
    )
    torch.testing.assert_close(target, torch.tensor([4.6, 1.0]))


def test_a_row_without_next_actions_has_value_zero() -> None:
    reward, discount, next_q = torch.tensor([3.0, 3.0]), torch.ones(2), torch.tensor([[float("nan"), -5.0]] * 2)
    mask = torch.tensor([[False, False], [False, True]])
    assert q_learning_target(reward, discount, next_q, mask).tolist() == [3.0, -2.0]
    assert q_learning_target(reward, discount, torch.empty(2, 0)).tolist() == [3.0, 3.0]


def test_masked_next_values_get_no_gradient() -> None:
    next_q = torch.tensor([[1.0, float("nan")], [float("nan"), 2.0]], requires_grad=True)
    target = q_learning_target(torch.zeros(2), torch.full((2,), 0.5), next_q, torch.tensor([[1, 0], [0, 0]]).bool())
    (gradient,) = torch.autograd.grad(target.sum(), next_q)
    assert gradient.tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_update_by_hand() -> None:
    q = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    updated = q_learning_update(
        q, torch.tensor([1, 0]), torch.tensor([1.0, 0.0]), torch.full((2,), 0.5), torch.tensor([[4.0, 2.0]] * 2), 0.1
    )
    torch.testing.assert_close(updated, torch.tensor([[1.0, 2.1], [2.9, 4.0]]))
    assert q.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@given(
    hnp.arrays("float64", (4, 3), elements=VALUES).map(torch.from_numpy),
    hnp.arrays("float64", 4, elements=VALUES).map(torch.from_numpy),
    st.floats(0, 1),
)
def test_update_moves_the_taken_entry_by_the_learning_rate(q: Tensor, reward: Tensor, learning_rate: float) -> None:
    rows, action, discount = torch.arange(4), torch.tensor([0, 2, 1, 1]), torch.full((4,), 0.9, dtype=torch.float64)
    updated = q_learning_update(q, action, reward, discount, q, learning_rate)
    target = reward + 0.9 * q.max(1).values
    expected = (1 - learning_rate) * q[rows, action] + learning_rate * target
    torch.testing.assert_close(updated, q.index_put((rows, action), expected), atol=1e-6, rtol=0.0)


def test_sweeps_reach_the_values_of_a_small_mdp() -> None:
    """Against policy evaluation by a linear solve: the greedy policy's own values are the learned ones, and optimal."""
    rng = np.random.default_rng(0)
    states, actions, discount = 6, 3, 0.9
    successor, reward = rng.integers(0, states, (states, actions)), rng.normal(size=(states, actions))
    allowed = rng.random((states, actions)) < 0.7
    allowed[np.arange(states), rng.integers(0, actions, states)] = True
    allowed[0] = False  # a state in which the episode is over
    state, action = np.nonzero(allowed)

    q, mask = torch.zeros(states, actions), torch.from_numpy(allowed)
    for _ in range(200):
        following = torch.from_numpy(successor[state, action])
        rows = q_learning_update(
            q[state],
            torch.from_numpy(action),
            torch.from_numpy(reward[state, action]).float(),
            torch.full((len(state),), discount),
            q[following],
            1.0,
            mask[following],
        )
        q = q.index_put((torch.from_numpy(state), torch.from_numpy(action)), rows[range(len(state)), action])

    value = _optimal_values(successor, reward, allowed, discount)
    expected = np.where(allowed, reward + discount * value[successor], 0.0)
    np.testing.assert_allclose(q.numpy(), expected, atol=1e-5)


def _optimal_values(
    successor: NDArray[np.int64], reward: NDArray[np.float64], allowed: NDArray[np.bool_], discount: float
) -> NDArray[np.float64]:
    """Howard's policy iteration in numpy, each policy evaluated by solving (I - γP) v = r."""
    states = len(successor)
    policy, live = allowed.argmax(1), allowed.any(1)
    while True:
        moves = np.zeros((states, states))
        moves[np.arange(states), successor[np.arange(states), policy]] = live
        value = np.linalg.solve(np.eye(states) - discount * moves, live * reward[np.arange(states), policy])
        better = np.where(allowed, reward + discount * value[successor], -np.inf).argmax(1)
        if (better == policy)[live].all():
            return value
        policy = better
