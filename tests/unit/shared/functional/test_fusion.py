from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from shared.functional.fusion import attention_fusion, coupled_projection, shared_attention, weighted_sum_fusion

B, M, D, K, V = 4, 3, 5, 6, 2
MASKS = hnp.arrays("bool", (B, M)).map(torch.from_numpy)
SCALES = st.sampled_from([1e-3, 1.0, 1e4])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


W_Q, W_K, W_V, W_A, LOGITS = draw(D, K, seed=1), draw(D, K, seed=2), draw(D, V, seed=3), draw(M, M * D, seed=4), draw(M)


def attend(e: Tensor, mask: Tensor | None = None) -> Tensor:
    return shared_attention(e, W_Q, W_K, W_V, mask)


def fuse_by_attention(e: Tensor, mask: Tensor | None = None) -> Tensor:
    return attention_fusion(e, W_A, mask)[0]


def fuse_by_weights(e: Tensor, mask: Tensor | None = None) -> Tensor:
    return weighted_sum_fusion(e, LOGITS, mask)[0]


FUSIONS = pytest.mark.parametrize("fuse", [attend, fuse_by_attention, fuse_by_weights])
Fuse = Callable[..., Tensor]


def test_shared_attention_by_hand() -> None:
    identity = torch.eye(1)
    tokens = torch.tensor([[[0.0], [1.0]]])
    # The token 0 scores both alike; the token 1 scores itself e times as high.
    expected = torch.tensor([[[0.5], [torch.e / (1 + torch.e)]]])
    torch.testing.assert_close(shared_attention(tokens, identity, identity, identity), expected)


def test_shared_attention_is_scaled_dot_product_attention() -> None:
    e = draw(B, M, D)
    torch.testing.assert_close(attend(e), scaled_dot_product_attention(e @ W_Q, e @ W_K, e @ W_V), atol=1e-5, rtol=1e-5)


@given(MASKS)
def test_masked_shared_attention_is_scaled_dot_product_attention(mask: Tensor) -> None:
    e = draw(B, M, D)
    expected = scaled_dot_product_attention(e @ W_Q, e @ W_K, e @ W_V, attn_mask=mask[:, None, :])
    torch.testing.assert_close(attend(e, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)
    assert bool((attend(e, mask)[~mask] == 0).all())


def test_shared_attention_follows_a_permutation_of_the_tokens() -> None:
    e, order = draw(B, M, D), torch.tensor([2, 0, 1])
    torch.testing.assert_close(attend(e[:, order]), attend(e)[:, order])


def test_coupled_projection_by_hand() -> None:
    encoded = [torch.tensor([[1.0]]), torch.tensor([[2.0, 3.0]])]
    w_f, b_f = torch.tensor([[1.0, 10.0, 100.0], [0.0, 0.0, -1.0]]), torch.tensor([0.5, 0.0])
    assert coupled_projection(encoded, w_f, b_f).tolist() == [[321.5, -3.0]]


def test_coupled_projection_is_the_sum_of_a_projection_a_modality() -> None:
    encoded, w_f, b_f = [draw(B, D, seed=m) for m in range(M)], draw(V, M * D), draw(V)
    parts = sum((h @ w.T for h, w in zip(encoded, w_f.split(D, dim=1), strict=True)), b_f)
    torch.testing.assert_close(coupled_projection(encoded, w_f, b_f), parts, atol=1e-5, rtol=1e-5)


def test_attention_fusion_by_hand() -> None:
    embeddings = torch.tensor([[[1.0], [3.0]]])
    w_a = torch.tensor([[0.0, 0.0], [1.0, 0.0]])  # logits 0 and 1
    fused, alpha = attention_fusion(embeddings, w_a)
    second = torch.e / (1 + torch.e)
    torch.testing.assert_close(alpha, torch.tensor([[1 - second, second]]))
    torch.testing.assert_close(fused, torch.tensor([[1 + 2 * second]]))


def test_attention_fusion_is_a_linear_layer_and_a_softmax() -> None:
    e = draw(B, M, D)
    layer = torch.nn.Linear(M * D, M, bias=False)
    with torch.no_grad():
        layer.weight.copy_(W_A)
        expected = layer(e.reshape(B, M * D)).softmax(-1)
    fused, alpha = attention_fusion(e, W_A)
    torch.testing.assert_close(alpha, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused, (expected[..., None] * e).sum(1), atol=1e-5, rtol=1e-5)


def test_attention_fusion_follows_a_permutation_of_the_modalities() -> None:
    e, order = draw(B, M, D), torch.tensor([2, 0, 1])
    permuted = W_A.reshape(M, M, D)[order][:, order].reshape(M, M * D)
    fused, alpha = attention_fusion(e[:, order], permuted)
    torch.testing.assert_close(fused, fuse_by_attention(e))
    torch.testing.assert_close(alpha, attention_fusion(e, W_A)[1][:, order])


def test_weighted_sum_fusion_by_hand() -> None:
    features = torch.tensor([[[1.0, 0.0], [0.0, 4.0]]])
    fused, weights = weighted_sum_fusion(features, torch.tensor([0.0, 3.0]).log1p())
    torch.testing.assert_close(weights, torch.tensor([[0.2, 0.8]]))
    torch.testing.assert_close(fused, torch.tensor([[0.2, 3.2]]))


def test_weighted_sum_fusion_with_equal_logits_is_the_mean() -> None:
    e = draw(B, M, D)
    torch.testing.assert_close(weighted_sum_fusion(e, torch.full((M,), 7.0))[0], e.mean(1))


@given(MASKS, SCALES)
def test_weights_sum_to_one_over_the_present(mask: Tensor, scale: float) -> None:
    e = scale * draw(B, M, D)
    for _, weights in (attention_fusion(e, W_A, mask), weighted_sum_fusion(e, scale * LOGITS, mask)):
        torch.testing.assert_close(weights.sum(-1), mask.any(-1).float())
        assert bool((weights >= 0).all() & (weights[~mask] == 0).all())


@FUSIONS
@given(mask=MASKS, stray=st.sampled_from([float("nan"), float("inf"), -1e30, 0.0]), scale=SCALES)
def test_what_is_absent_never_matters(fuse: Fuse, mask: Tensor, stray: float, scale: float) -> None:
    e = scale * draw(B, M, D)
    strayed = e.masked_fill(~mask[..., None], stray).requires_grad_()
    fused = fuse(strayed, mask)
    torch.testing.assert_close(fused, fuse(e, mask), rtol=0.0, atol=0.0)
    assert bool(fused.isfinite().all() & (fused[~mask.any(-1)] == 0).all())
    (gradient,) = torch.autograd.grad(fused.square().sum(), strayed)
    assert bool(gradient.isfinite().all() & (gradient[~mask] == 0).all())


@FUSIONS
def test_one_modality_alone_passes_through(fuse: Fuse) -> None:
    e, mask = draw(B, M, D), torch.tensor([False, True, False]).expand(B, M)
    alone = fuse(e, mask)
    expected = e[:, 1] @ W_V if fuse is attend else e[:, 1]
    torch.testing.assert_close(alone[:, 1] if fuse is attend else alone, expected)


@pytest.mark.parametrize(
    ("fuse", "weights"),
    [(shared_attention, [W_Q, W_K, W_V]), (attention_fusion, [W_A]), (weighted_sum_fusion, [LOGITS])],
)
def test_gradients_are_those_of_finite_differences(fuse: Callable[..., object], weights: list[Tensor]) -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])
    inputs = [x.double().requires_grad_() for x in (draw(2, M, D), *weights)]
    assert torch.autograd.gradcheck(lambda *x: fuse(*x, mask), inputs)
