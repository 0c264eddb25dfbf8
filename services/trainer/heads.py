"""Head statistics of examples under a version's own weights: the sums that serving starts from.

Shapes: N rows, F features.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.experiences import PreparedExperience
from services.trainer.networks import Networks
from shared.networks.batches import collate, collate_bags
from shared.networks.online_head import HeadStatistics
from shared.networks.q_network import QNetwork, QValues

ROWS: Final = 256


def add_examples(
    networks: Networks, statistics: HeadStatistics, examples: Examples, keep_lease: Callable[[], None]
) -> HeadStatistics:
    """The statistics with the examples added, weighted as serving weights what it learns online."""
    if not len(examples):
        return statistics
    q_network, features, weights = q_network_of(networks), [], []
    for chosen, q_values in _q_values(networks, q_network, examples.experiences, keep_lease):
        features.append(q_values.features)
        weights.append(q_network.weights(q_values.log_variance, examples.slots[chosen]))
    decided_at = torch.tensor([one.row.decided_at for one in examples.experiences])
    return statistics.add(torch.cat(features), examples.slots, examples.rewards, torch.cat(weights), decided_at)


def features_of(
    networks: Networks, experiences: Sequence[PreparedExperience], keep_lease: Callable[[], None]
) -> Tensor:
    """What the head regresses on of the actions taken, [N, F], in float64 as serving computes them."""
    found = [torch.zeros(0, networks.architecture.head_width, dtype=torch.float64)]
    read = _q_values(networks, q_network_of(networks), experiences, keep_lease)
    return torch.cat([*found, *(q_values.features for _, q_values in read)])


def _q_values(
    networks: Networks,
    q_network: QNetwork,
    experiences: Sequence[PreparedExperience],
    keep_lease: Callable[[], None],
) -> Iterator[tuple[slice, QValues]]:
    for start in range(0, len(experiences), ROWS):
        keep_lease()
        chosen = slice(start, start + ROWS)
        with torch.no_grad():
            q_values: QValues = q_network(_inputs(networks, experiences[chosen]).double())
        yield chosen, q_values


def q_network_of(networks: Networks) -> QNetwork:
    """A copy in float64, as serving has it."""
    return networks.learning().q_network.double().eval().requires_grad_(False)


def _inputs(networks: Networks, experiences: Sequence[PreparedExperience]) -> Tensor:
    architecture = networks.architecture
    states_NS = networks.states(collate([one.features for one in experiences], list(architecture.modalities)))
    if not architecture.action_features:
        return states_NS
    return torch.cat([states_NS, networks.encoder.encode_actions(collate_bags([one.action for one in experiences]))], 1)
