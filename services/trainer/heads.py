"""Head statistics of examples under a version's own weights: the sums that serving starts from.

Shapes: N rows, F features.
"""

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.experiences import PreparedExperience
from services.trainer.networks import Networks
from shared.networks.batches import collate, collate_bags
from shared.networks.online_head import HeadStatistics
from shared.networks.q_network import QNetwork

ROWS: Final = 256


def add_examples(
    networks: Networks, statistics: HeadStatistics, examples: Examples, keep_lease: Callable[[], None]
) -> HeadStatistics:
    """The statistics with the examples added, each with weight one."""
    features_NF = features_of(networks, examples.experiences, keep_lease)
    return statistics.add(features_NF, examples.slots, examples.rewards, torch.ones(len(examples)))


def features_of(
    networks: Networks, experiences: Sequence[PreparedExperience], keep_lease: Callable[[], None]
) -> Tensor:
    """What the head regresses on of the actions taken, [N, F], in float64 as serving computes them."""
    q_network = q_network_of(networks)
    found = [torch.zeros(0, networks.architecture.head_width, dtype=torch.float64)]
    for start in range(0, len(experiences), ROWS):
        keep_lease()
        with torch.no_grad():
            found.append(q_network(_inputs(networks, experiences[start : start + ROWS]).double()).features)
    return torch.cat(found)


def q_network_of(networks: Networks) -> QNetwork:
    """A copy in float64, as serving has it."""
    return networks.learning().q_network.double().eval().requires_grad_(False)


def _inputs(networks: Networks, experiences: Sequence[PreparedExperience]) -> Tensor:
    architecture = networks.architecture
    states_NS = networks.states(collate([one.features for one in experiences], list(architecture.modalities)))
    if not architecture.action_features:
        return states_NS
    return torch.cat([states_NS, networks.encoder.encode_actions(collate_bags([one.action for one in experiences]))], 1)
