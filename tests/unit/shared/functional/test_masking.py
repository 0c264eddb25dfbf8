import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from shared.functional.masking import masked_softmax

LOGITS = hnp.arrays("float32", (3, 5), elements=st.floats(-1e4, 1e4, width=32)).map(torch.from_numpy)
MASKS = hnp.arrays("bool", (3, 5)).map(torch.from_numpy)


def test_absent_logits_share_nothing() -> None:
    weights = masked_softmax(torch.tensor([0.0, float("nan"), 0.0]), torch.tensor([True, False, True]))
    assert weights.tolist() == [0.5, 0.0, 0.5]


@given(LOGITS, MASKS)
def test_is_the_softmax_of_what_is_present(logits: Tensor, mask: Tensor) -> None:
    for row, present, weights in zip(logits, mask, masked_softmax(logits, mask), strict=True):
        torch.testing.assert_close(weights[present], row[present].softmax(-1))
        assert bool((weights[~present] == 0).all())


def test_absent_rows_have_no_gradient() -> None:
    logits = torch.tensor([[1.0, float("nan")], [float("inf"), float("nan")]], requires_grad=True)
    weights = masked_softmax(logits, torch.tensor([[True, False], [False, False]]))
    (weights * torch.tensor([2.0, 3.0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
