import pytest
import torch

from shared.networks.fusion import STRATEGIES
from shared.networks.parts import build_fusion
from shared.networks.views import LENGTH
from tests.unit.shared.networks.conftest import architecture_of

ARCHITECTURE = architecture_of()
FUSED = ARCHITECTURE.fused_width

pytestmark = pytest.mark.parametrize("strategy", STRATEGIES)


def embeddings() -> torch.Tensor:
    return torch.randn(8, 6, ARCHITECTURE.encoded_width, generator=torch.Generator().manual_seed(0))


ALL = torch.ones(8, 6, dtype=torch.bool)


def test_every_modality_reaches_the_state_and_every_parameter_learns(strategy: str) -> None:
    fusion = build_fusion(architecture_of(strategy))
    inputs = embeddings().requires_grad_()
    states = fusion(inputs, ALL)
    assert states.shape == (8, ARCHITECTURE.state_width)
    states.pow(2).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.abs().sum(-1).gt(0).all()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_what_stands_where_a_modality_is_missing_never_matters(strategy: str) -> None:
    fusion = build_fusion(architecture_of(strategy))
    present = ALL.clone()
    present[:, 1] = False
    present[3] = False
    poisoned = embeddings().masked_fill(~present[..., None], float("nan"))
    states = fusion(poisoned, present)
    torch.testing.assert_close(states, fusion(embeddings(), present))
    assert not states[3].any()
    assert states[0].any()


def test_a_state_does_not_depend_on_its_batch(strategy: str) -> None:
    fusion = build_fusion(architecture_of(strategy)).eval()
    with torch.inference_mode():
        together, alone = fusion(embeddings(), ALL), fusion(embeddings()[2:3], ALL[2:3])
        torch.testing.assert_close(alone[0], together[2], atol=1e-5, rtol=0)
        assert torch.equal(alone, fusion(embeddings()[2:3], ALL[2:3]))


def test_views_stand_behind_the_fused_and_have_one_length_together(strategy: str) -> None:
    width = ARCHITECTURE.embedding_width
    views = torch.nn.functional.normalize(embeddings()[..., width:], dim=-1) * LENGTH
    encoded = torch.cat([embeddings()[..., :width], views], dim=-1)
    present = ALL.clone()
    present[0, 1:] = False
    states = build_fusion(architecture_of(strategy))(encoded, present)
    torch.testing.assert_close(states[0, FUSED : FUSED + ARCHITECTURE.view_width], views[0, 0])
    torch.testing.assert_close(states[:, FUSED:-6].norm(dim=1), torch.full((8,), LENGTH))
    assert torch.equal(states[:, -6:], present.float())
