import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR

from shared.functional.schedules import cosine_annealing


def test_annealing_by_hand() -> None:
    assert [cosine_annealing(step, 4, 1.0, 0.0) for step in (0, 2, 4)] == [1.0, pytest.approx(0.5), 0.0]
    assert cosine_annealing(1, 3, 1.0, 0.2) == pytest.approx(0.8)  # cos 60° = ½


def test_annealing_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    scheduler = CosineAnnealingLR(optimizer, T_max=50, eta_min=1e-5)
    for step in range(51):
        assert cosine_annealing(step, 50, 3e-3, 1e-5) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(1e-6, 1.0), st.floats(0.0, 1e-6))
def test_annealing_falls_and_stays_at_the_end(step: int, total: int, lr_max: float, lr_min: float) -> None:
    now, later = (cosine_annealing(s, total, lr_max, lr_min) for s in (step, step + 1))
    assert lr_min <= later <= now <= lr_max * (1 + 1e-15)
    assert cosine_annealing(total + step, total, lr_max, lr_min) == lr_min
