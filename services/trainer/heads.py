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

ROWS: Final = 256


def add_examples(
    networks: Networks, statistics: HeadStatistics, examples: Examples, keep_lease: Callable[[], None]
) -> HeadStatistics:
    """The statistics with the examples added, each with weight one; features in float64 as serving computes them."""
    q_network = networks.learning().q_network.double().eval()
    for start in range(0, len(examples), ROWS):
        keep_lease()
        rows = slice(start, start + ROWS)
        with torch.inference_mode():
            features_NF = q_network(_inputs(networks, examples.experiences[rows]).double()).features
        weights_N = torch.ones(len(features_NF))
        statistics = statistics.add(features_NF, examples.slots[rows], examples.rewards[rows], weights_N)
    return statistics


def _inputs(networks: Networks, experiences: Sequence[PreparedExperience]) -> Tensor:
    architecture = networks.architecture
    states_NS = networks.states(collate([one.features for one in experiences], list(architecture.modalities)))
    if not architecture.action_features:
        return states_NS
    return torch.cat([states_NS, networks.encoder.encode_actions(collate_bags([one.action for one in experiences]))], 1)
