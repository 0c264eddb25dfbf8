import torch

from shared.networks.adapter import Adapter
from shared.networks.batches import collate
from shared.networks.multimodal_encoder import MultimodalEncoder
from shared.networks.parts import build_encoder, load_module, save_module
from shared.networks.preparation import Row
from tests.unit.shared.networks.conftest import MODALITIES, architecture_of

PLAIN = architecture_of()
ADAPTED = PLAIN.model_copy(update={"adapter_rank": 4})


def test_starts_as_the_identity_and_all_of_it_can_learn() -> None:
    adapter, h = Adapter(6, 2), torch.randn(5, 6)
    torch.testing.assert_close(adapter(h), h, rtol=0, atol=0)
    with torch.no_grad():
        adapter.w_up_DR.fill_(0.1)
    adapter(h).square().sum().backward()
    assert all(one.grad is not None and one.grad.any() for one in adapter.parameters())


def test_an_encoder_with_new_adapters_encodes_as_without(rows: list[Row]) -> None:
    batch = collate(rows, list(MODALITIES))
    plain, adapted = build_encoder(PLAIN, seed=1), build_encoder(ADAPTED, seed=1)
    torch.testing.assert_close(adapted.eval()(batch)[0], plain.eval()(batch)[0], rtol=0, atol=0)


def test_each_modality_has_an_adapter_of_its_own(rows: list[Row]) -> None:
    batch = collate(rows, list(MODALITIES))
    encoder = build_encoder(ADAPTED).eval()
    before = encoder(batch)[0]
    second = encoder.adapters[1]
    assert isinstance(second, Adapter)
    torch.nn.init.ones_(second.b_up_D)
    changed = (encoder(batch)[0] - before).abs().sum((0, 2)) > 0
    assert changed.tolist() == [index == 1 for index in range(len(MODALITIES))]


def test_adapters_come_back_as_they_were() -> None:
    encoder = build_encoder(ADAPTED, seed=1)
    loaded: MultimodalEncoder = load_module(build_encoder(ADAPTED, seed=2), save_module(encoder))
    pairs = zip(loaded.adapters.parameters(), encoder.adapters.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
