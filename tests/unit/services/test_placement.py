"""The three parts of a version compute alike on a GPU, where there is one, and nearly so in bfloat16."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from services.encoding.encoding import encode, load_encoder
from services.encoding.settings import EncodingSettings
from services.fusion.attributing import modality_shares
from services.fusion.server import load_fusion
from services.policy.attributing import state_gradients
from services.policy.deciding import Drawn, decide, load_version_policy
from shared.domain import Action, ModelRef
from shared.loop_settings import LoopSettings
from shared.networks.media_decoder import decode_all
from shared.networks.placement import CPU, ON_CPU, NoDeviceError, Placement
from shared.networks.policy import Candidates, Policy
from shared.registry.loading import Loaded
from shared.registry.manifest import Architecture
from tests.versions import fetch_nothing, manifest_of, parts_of

ROWS = 16
MODALITIES = {"title": {"kind": "text"}, "user": {"kind": "tabular"}, "vector": {"kind": "embedding", "dimension": 8}}
GPU = pytest.param(
    Placement(torch.device("cuda", 0)),
    id="cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
)


@dataclass
class Served:
    """What one version made of the same contexts in one place."""

    states: Tensor
    drawn: Drawn
    shares: Tensor
    learned: Drawn


@pytest.mark.parametrize("features", [False, True], ids=["ids", "features"])
@pytest.mark.parametrize("placement", [pytest.param(ON_CPU, id="cpu"), GPU])
def test_a_gpu_serves_what_a_cpu_serves(placement: Placement, features: bool) -> None:
    here, there = serve(ON_CPU, features), serve(placement, features)
    torch.testing.assert_close(there.states, here.states, atol=1e-4, rtol=0)
    torch.testing.assert_close(there.shares, here.shares, atol=1e-3, rtol=0)
    for one, other in ((there.drawn, here.drawn), (there.learned, here.learned)):
        torch.testing.assert_close(one.probabilities, other.probabilities, atol=1e-3, rtol=0)
        assert torch.equal(one.position, other.position)


@pytest.mark.parametrize("features", [False, True], ids=["ids", "features"])
def test_bfloat16_moves_states_and_probabilities_by_little(features: bool) -> None:
    exact, rounded = serve(ON_CPU, features), serve(Placement(dtype=torch.bfloat16), features)
    assert rounded.states.dtype == torch.float32
    assert not torch.equal(rounded.states, exact.states)
    torch.testing.assert_close(rounded.states, exact.states, atol=0.05, rtol=0)
    torch.testing.assert_close(rounded.learned.probabilities, exact.learned.probabilities, atol=0.03, rtol=0)


@pytest.mark.parametrize("name", ["cpu", "cuda", "auto"])
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = EncodingSettings.model_validate({"model_device": name})
    if name != "cuda":
        assert Placement.of(settings).device == CPU
        return
    with pytest.raises(NoDeviceError, match="REWARDLOOP_MODEL_DEVICE"):
        Placement.of(settings)


def serve(placement: Placement, features: bool) -> Served:
    """Decides on contexts and explains that, learns from rewards, and decides on them again."""
    actions = [Action(name, {"price": number} if features else None) for number, name in enumerate("abc")]
    listed = [{"id": one.id} | ({"features": dict(one.features)} if one.features else {}) for one in actions]
    settings = LoopSettings.model_validate({"modalities": MODALITIES, "actions": listed})
    architecture = Architecture.of(settings)
    parts = parts_of(architecture, 1, experienced=True)
    manifest = manifest_of(settings, ModelRef("default", "shoes", 1), dict.fromkeys(parts, "0" * 64))
    encoders = load_encoder(architecture, parts["encoding"], placement=placement)
    encoded = encode(Loaded(manifest, encoders), contexts(), actions if features else [], decode_all, fetch_nothing)
    fusion = load_fusion(architecture, parts["fusion"], placement)
    with torch.inference_mode(), placement.arithmetic():
        states = placement.fetch(fusion(placement.send(encoded.embeddings), placement.send(encoded.present)))
    states = states.clone()
    policy = load_version_policy(architecture, parts["policy"], placement)
    of_rows = None if encoded.actions is None else encoded.actions.clone().repeat(ROWS, 1)
    chosen = [actions[row % 3].id for row in range(ROWS)]
    of_chosen = None if of_rows is None else of_rows[[3 * row + row % 3 for row in range(ROWS)]]
    gradients = state_gradients(policy, states.clone(), chosen, of_chosen)
    sent = (placement.send(one.clone()) for one in (encoded.embeddings, encoded.present, gradients))
    shares = modality_shares(fusion, *sent)
    rewards = torch.tensor([float(row % 3 == 0) for row in range(ROWS)], dtype=torch.float64)
    with torch.no_grad():
        after = policy.learned(states, chosen, of_chosen, rewards, torch.arange(ROWS))
    drawn, learned = (draw(one, settings, states, actions, of_rows) for one in (policy, after))
    return Served(states, drawn, shares.cpu(), learned)


def draw(
    policy: Policy, settings: LoopSettings, states: Tensor, actions: list[Action], of_rows: Tensor | None
) -> Drawn:
    """One action is excluded in every row, and a baseline is given where little is known."""
    candidates = Candidates.of([[one.id for one in actions]] * ROWS, [[1]] * ROWS)
    exploration = settings.exploration.model_copy(update={"abstain_below": 0.2})
    seeds, baselines, unit = [row << 58 for row in range(ROWS)], [0, None] * (ROWS // 2), (0.0, 1.0)
    return decide(policy, unit, states, candidates, of_rows, exploration, unit, seeds, baselines)


def contexts() -> list[dict[str, object]]:
    """Some lack a modality."""
    generator = np.random.default_rng(0)
    whole = [
        {
            "title": f"Red shoe {row}",
            "user": {"age": float(row), "country": "de"},
            "vector": generator.standard_normal(8).astype(np.float32),
        }
        for row in range(ROWS)
    ]
    return [{name: value for name, value in one.items() if row % 4 or name != "user"} for row, one in enumerate(whole)]
