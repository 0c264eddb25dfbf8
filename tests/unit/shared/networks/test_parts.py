import pytest
import torch
from safetensors.torch import load, save

from shared.networks.batches import collate
from shared.networks.fusion import STRATEGIES
from shared.networks.online_head import HeadStatistics
from shared.networks.parts import (
    WeightsError,
    build_encoder,
    build_fusion,
    build_q_network,
    empty_statistics,
    load_module,
    load_policy,
    save_module,
    save_policy,
)
from shared.networks.preparation import Row
from tests.unit.shared.networks.conftest import MODALITIES, architecture_of

ARCHITECTURE = architecture_of()


def some_statistics() -> HeadStatistics:
    features = torch.randn(9, ARCHITECTURE.head_width, dtype=torch.float64)
    return empty_statistics(ARCHITECTURE).add(features, torch.arange(9) % 3, torch.rand(9), torch.ones(9))


def test_an_encoder_comes_back_as_it_was(rows: list[Row]) -> None:
    encoder = build_encoder(ARCHITECTURE, seed=1)
    batch = collate(rows, list(MODALITIES))
    loaded = load_module(build_encoder(ARCHITECTURE, seed=2), save_module(encoder))
    torch.testing.assert_close(loaded(batch)[0], encoder.eval()(batch)[0])
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_fusion_comes_back_as_it_was(strategy: str) -> None:
    architecture = architecture_of(strategy)
    fusion = build_fusion(architecture, seed=1)
    loaded = load_module(build_fusion(architecture, seed=2), save_module(fusion))
    inputs = torch.randn(2, 6, ARCHITECTURE.encoded_width), torch.ones(2, 6, dtype=torch.bool)
    torch.testing.assert_close(loaded(*inputs), fusion.eval()(*inputs))


@pytest.mark.parametrize("trained", [False, True])
def test_a_policy_comes_back_as_it_was(trained: bool) -> None:
    q_network, statistics = build_q_network(ARCHITECTURE, seed=1), some_statistics()
    states = torch.randn(4, ARCHITECTURE.state_width)
    if trained:
        q_network.train()(states)
    loaded, loaded_statistics = load_policy(ARCHITECTURE, save_policy(q_network, statistics))
    assert torch.equal(loaded(states).mean, q_network.eval()(states).mean)
    assert bool(loaded(states).mean.any()) == trained
    for name, tensor in statistics.tensors().items():
        assert torch.equal(tensor, loaded_statistics.tensors()[name])


def test_the_seed_alone_makes_the_weights() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = save_module(build_encoder(ARCHITECTURE, seed=7))
    # Building leaves the caller's own random numbers alone.
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    assert save_module(build_encoder(ARCHITECTURE, seed=7)) == one
    assert save_module(build_encoder(ARCHITECTURE, seed=8)) != one


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_refuses_weights_that_are_not_finite(value: float) -> None:
    tensors = load(save_policy(build_q_network(ARCHITECTURE), some_statistics()))
    for name in ("q_network.mean.weight", "head.moment"):
        spoilt = {**tensors, name: tensors[name].clone()}
        spoilt[name].view(-1)[-1] = value
        with pytest.raises(WeightsError, match=name):
            load_policy(ARCHITECTURE, save(spoilt))


def test_refuses_weights_of_another_architecture() -> None:
    data = save_module(build_fusion(ARCHITECTURE))
    with pytest.raises(WeightsError, match="do not belong"):
        load_module(build_fusion(architecture_of("shared_attention")), data)
    wider = ARCHITECTURE.model_copy(update={"fused_width": 32})
    with pytest.raises(WeightsError, match=r"projection.weight is .* not \[32, 64\]"):
        load_module(build_fusion(wider), data)
    single = {name: tensor.double() for name, tensor in load(data).items()}
    with pytest.raises(WeightsError, match="float64"):
        load_module(build_fusion(ARCHITECTURE), save(single))


def test_refuses_files_that_are_cut_or_something_else() -> None:
    data = save_module(build_fusion(ARCHITECTURE))
    for damaged in (b"", data[:-1], data[: len(data) // 2], b"PK\x03\x04" + bytes(100)):
        with pytest.raises(WeightsError):
            load_module(build_fusion(ARCHITECTURE), damaged)


def test_a_head_that_was_written_before_there_was_forgetting_forgets_nothing() -> None:
    tensors = load(save_policy(build_q_network(ARCHITECTURE), some_statistics()))
    older = {name: tensor for name, tensor in tensors.items() if name not in ("head.newest_at", "head.half_life")}
    _, statistics = load_policy(ARCHITECTURE, save(older))
    assert (int(statistics.newest_at), int(statistics.half_life)) == (0, 0)
