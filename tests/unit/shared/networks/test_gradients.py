"""What a modality holds reaches the estimates, and what they get wrong reaches all that should learn from it."""

import pytest
import torch
from torch import nn

from shared.networks.batches import collate
from shared.networks.fusion import STRATEGIES
from shared.networks.parts import build_encoder, build_fusion, build_q_network
from shared.networks.preparation import Row
from tests.unit.shared.networks.conftest import MODALITIES, architecture_of


def without_gradient(module: nn.Module) -> list[str]:
    return [name for name, one in module.named_parameters() if one.grad is None or not one.grad.any()]


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_parameter_of_every_part_learns_from_every_modality(strategy: str, name: str, rows: list[Row]) -> None:
    architecture = architecture_of(strategy).model_copy(update={"adapter_rank": 4})
    encoder, fusion, q_network = build_encoder(architecture), build_fusion(architecture), build_q_network(architecture)
    place = list(MODALITIES).index(name)
    nn.init.normal_(encoder.adapters[place].w_up_DR)
    values = q_network(fusion(*encoder(collate(rows, list(MODALITIES)))))
    (values.mean.square().sum() + values.log_variance.sum()).backward()
    for module in (encoder.modalities[place], encoder.adapters[place], fusion, q_network):
        assert without_gradient(module) == []


@pytest.mark.parametrize("name", MODALITIES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_row_with_another_value_has_another_estimate(strategy: str, name: str, rows: list[Row]) -> None:
    architecture = architecture_of(strategy)
    parts = build_encoder(architecture), build_fusion(architecture), build_q_network(architecture)
    encoder, fusion, q_network = (part.eval() for part in parts)
    q_network.trained.fill_(True)

    def estimates(of: list[Row]) -> torch.Tensor:
        mean: torch.Tensor = q_network(fusion(*encoder(collate(of, list(MODALITIES))))).mean
        return mean[0]

    with torch.inference_mode():
        full = estimates(rows)
        other = estimates([rows[0] | {name: rows[1][name]}, *rows[1:]])
        gone = estimates([{key: value for key, value in rows[0].items() if key != name}, *rows[1:]])
    assert not torch.allclose(full, other)
    assert not torch.allclose(full, gone)
    assert gone.isfinite().all()
