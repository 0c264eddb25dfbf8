import math

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, Saliency
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from shared.functional.attribution import importance_shares, modality_correlation, modality_importance
from shared.functional.fusion import attention_fusion

B, D = 4, 3
SERIES = hnp.arrays("float64", 12, elements=st.integers(-1000, 1000).map(lambda x: x / 8)).map(torch.from_numpy)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


W_A, W_OUT = draw(2, 2 * D, seed=7), draw(D, seed=8)


def score(photo: Tensor, title: Tensor, mask: Tensor | None = None) -> Tensor:
    """A little model: two modalities, fused by attention, then one number a row."""
    fused, _ = attention_fusion(torch.stack([photo, title], dim=1), W_A.to(photo), mask)
    return (fused * W_OUT.to(photo)).sum(-1).tanh()


@pytest.fixture
def embeddings() -> dict[str, Tensor]:
    return {name: draw(B, D, seed=seed).requires_grad_() for seed, name in enumerate(["photo", "title"])}


def test_importance_by_hand() -> None:
    photo, title, unused = (torch.tensor([[1.0, -2.0]], requires_grad=True) for _ in range(3))
    loss = -3 * photo[0, 0] + title[0, 1] ** 2
    found = modality_importance(loss, {"photo": photo, "title": title, "unused": unused})
    assert {name: importance.tolist() for name, importance in found.items()} == {
        "photo": [[3.0, 0.0]],
        "title": [[0.0, 4.0]],
        "unused": [[0.0, 0.0]],
    }


def test_importance_is_the_saliency_of_captum(embeddings: dict[str, Tensor]) -> None:
    found = modality_importance(score(**embeddings).sum(), embeddings)
    expected = Saliency(score).attribute(tuple(embeddings.values()), abs=True)
    for ours, theirs in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_importance_is_that_of_finite_differences(embeddings: dict[str, Tensor]) -> None:
    exact = {name: e.detach().double().requires_grad_() for name, e in embeddings.items()}
    found = modality_importance(score(**exact).sum(), exact)["photo"]
    with torch.no_grad():
        for b, d in np.ndindex(B, D):
            step = torch.zeros(B, D, dtype=torch.float64)
            step[b, d] = 1e-6
            rise = score(exact["photo"] + step, exact["title"]) - score(exact["photo"] - step, exact["title"])
            assert found[b, d].item() == pytest.approx(abs(rise.sum().item()) / 2e-6, abs=1e-8)


def test_shares_by_hand() -> None:
    photo, title = torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([[5.0], [0.0]])
    embeddings = {"photo": photo.requires_grad_(), "title": title.requires_grad_()}
    loss = 3 * photo[:, 0].sum() + 2 * photo[:, 1].sum() - title.sum()
    # Row 0: ‖(3·1, 2·2)‖ = 5 against |-1·5| = 5; row 1: 3 against 0.
    shares = importance_shares(loss, embeddings)
    assert {name: share.tolist() for name, share in shares.items()} == {"photo": [0.5, 1.0], "title": [0.5, 0.0]}


def test_shares_are_those_of_captums_input_times_gradient(embeddings: dict[str, Tensor]) -> None:
    shares = importance_shares(score(**embeddings).sum(), embeddings)
    salience = InputXGradient(score).attribute(tuple(embeddings.values()))
    norms = torch.stack([s.norm(dim=-1) for s in salience]).double()
    for ours, theirs in zip(shares.values(), norms / norms.sum(0), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@given(hnp.arrays("bool", (B, 2)).map(torch.from_numpy), st.sampled_from([1e-12, 1.0, 1e12]))
def test_shares_sum_to_one_over_the_modalities_present(present: Tensor, scale: float) -> None:
    embeddings = {
        name: draw(B, D, seed=m).masked_fill(~present[:, m : m + 1], float("nan")).requires_grad_()
        for m, name in enumerate(["photo", "title"])
    }
    shares = importance_shares(scale * score(**embeddings, mask=present).sum(), embeddings)
    table = torch.stack(list(shares.values()), dim=1)
    torch.testing.assert_close(table.sum(-1), present.any(-1).double())
    assert bool((table[~present] == 0).all())


def test_the_graph_is_kept(embeddings: dict[str, Tensor]) -> None:
    loss = score(**embeddings).sum()
    first, second = modality_importance(loss, embeddings), modality_importance(loss, embeddings)
    torch.testing.assert_close(first, second)
    loss.backward()


def test_correlation_by_hand() -> None:
    actions, states = torch.tensor([1, 0, 1, 0]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert modality_correlation(actions, states) == pytest.approx(1 / math.sqrt(3))


@given(SERIES, SERIES)
def test_correlation_is_that_of_numpy(actions: Tensor, states: Tensor) -> None:
    rho = modality_correlation(actions, states)
    if actions.unique().numel() == 1 or states.unique().numel() == 1:
        assert math.isnan(rho)
    else:
        assert rho == pytest.approx(np.corrcoef(actions, states)[0, 1], abs=1e-9)
        assert -1 <= rho <= 1


@given(SERIES, st.sampled_from([1e-6, 3.0, 1e6]), st.sampled_from([-5.0, 0.0, 1e3]))
def test_correlation_of_a_linear_function_is_its_sign(actions: Tensor, slope: float, offset: float) -> None:
    assume(actions.unique().numel() > 1)
    assert modality_correlation(actions, slope * actions + offset) == pytest.approx(1.0, abs=1e-6)
    assert modality_correlation(actions, -slope * actions + offset) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("constant", [torch.full((9,), 0.1), torch.full((9,), 1e9)])
def test_a_constant_has_no_correlation(constant: Tensor) -> None:
    assert math.isnan(modality_correlation(constant, torch.arange(9.0)))
    assert math.isnan(modality_correlation(torch.arange(9.0), constant))
    assert math.isnan(modality_correlation(torch.empty(0), torch.empty(0)))
