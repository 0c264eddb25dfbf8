import pytest
import torch

from shared.networks.parts import build_q_network
from shared.networks.q_network import FIRST_VARIANCE, QNetwork
from shared.networks.views import LENGTH
from tests.unit.shared.networks.conftest import architecture_of


def states(*, features: bool = False) -> torch.Tensor:
    architecture = architecture_of()
    width = architecture.state_width + architecture.encoded_width * features
    return torch.randn(16, width, generator=torch.Generator().manual_seed(0))


def learned(*, features: bool = False) -> QNetwork:
    network = build_q_network(architecture_of(features=features)).train()
    network(states(features=features))
    return network.eval()


@pytest.mark.parametrize(("features", "outputs"), [(False, 3), (True, 1)])
def test_estimates_nothing_until_it_has_been_trained(features: bool, outputs: int) -> None:
    network = build_q_network(architecture_of(features=features)).eval()
    values = network(states(features=features))
    assert values.mean.shape == (16, outputs)
    assert not values.mean.any()
    assert not network.prior_mean().any()
    torch.testing.assert_close(values.log_variance.exp(), torch.full((16, outputs), FIRST_VARIANCE))
    assert learned(features=features)(states(features=features)).mean.any()


def test_learned_features_have_length_one_and_views_follow_them() -> None:
    network = learned().double()
    features = network(states().double()).features
    learned_width = architecture_of().feature_width
    torch.testing.assert_close(features[:, :learned_width].norm(dim=1), torch.ones(16, dtype=torch.float64))
    assert torch.equal(features[:, learned_width:], states().double()[:, architecture_of().fused_width :])


def test_an_action_with_features_meets_the_context_in_features_of_one_length() -> None:
    network = learned(features=True).double()
    features = network(states(features=True).double()).features[:, architecture_of().feature_width :]
    torch.testing.assert_close(features.norm(dim=1), torch.full((16,), LENGTH, dtype=torch.float64))


def test_the_prior_of_the_head_is_the_output_layer() -> None:
    network = learned().double()
    values = network(states().double())
    prior = network.prior_mean()
    torch.testing.assert_close(values.features @ prior[:, :-1].mT + prior[:, -1], values.mean)


def test_gradients_reach_every_parameter() -> None:
    network = build_q_network(architecture_of()).train()
    values = network(states())
    ((values.mean - 1).square().mean() + values.log_variance.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
