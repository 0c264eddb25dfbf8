"""Shares of the modalities, held against captum's input times gradient through the whole fusion."""

import pytest
import torch
from captum.attr import InputXGradient
from torch import Tensor

from services.fusion.attributing import modality_shares
from shared.networks.fusion import STRATEGIES
from shared.networks.parts import build_fusion
from tests.unit.shared.networks.conftest import architecture_of

B, M = 6, 5
pytestmark = pytest.mark.parametrize("strategy", STRATEGIES)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def case(strategy: str) -> tuple[torch.nn.Module, Tensor, Tensor]:
    architecture = architecture_of(strategy)
    fusion = build_fusion(architecture).eval().requires_grad_(False)
    embeddings = draw(B, M, architecture.encoded_width, seed=1)
    return fusion, embeddings, draw(B, architecture.state_width, seed=2)


def test_shares_are_captums_norms_of_input_times_gradient(case: tuple[torch.nn.Module, Tensor, Tensor]) -> None:
    fusion, embeddings, gradients = case
    present = torch.ones(B, M, dtype=torch.bool)

    def loss(inputs: Tensor) -> Tensor:
        product: Tensor = (fusion(inputs, present) * gradients).sum(-1)
        return product

    norms = InputXGradient(loss).attribute(embeddings.clone().requires_grad_()).norm(dim=-1).double()
    shares = modality_shares(fusion, embeddings, present, gradients)
    torch.testing.assert_close(shares, norms / norms.sum(1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_what_is_missing_has_no_share_whatever_stands_there(case: tuple[torch.nn.Module, Tensor, Tensor]) -> None:
    fusion, embeddings, gradients = case
    present = torch.ones(B, M, dtype=torch.bool)
    present[0, 1], present[1, :4], present[2] = False, False, False
    shares = modality_shares(fusion, embeddings.masked_fill(~present[..., None], float("nan")), present, gradients)
    assert not shares[~present].any()
    torch.testing.assert_close(shares.sum(1), present.any(1).double())
    assert shares[1, 4] == 1


def test_a_loss_that_depends_on_nothing_has_no_shares(case: tuple[torch.nn.Module, Tensor, Tensor]) -> None:
    fusion, embeddings, gradients = case
    shares = modality_shares(fusion, embeddings, torch.ones(B, M, dtype=torch.bool), torch.zeros_like(gradients))
    assert not shares.any()
