"""What the estimate of the taken action rests on: share of each modality in the loss, and what masking it costs.

Shapes: N rows, M modalities, D embedding, S state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from services.trainer.examples import Examples
from services.trainer.experiences import PreparedExperience
from services.trainer.networks import Networks
from shared.functional.attribution import importance_shares
from shared.loop_report import ModalityFigures, ModalityImportance
from shared.networks.batches import collate, collate_bags

ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class Measured:
    """What the networks make of experiences: embeddings [N, M, D] with bool [N, M], states [N, S]; then, of the squared
    error of the taken action's estimate, the shares of the modalities float64 [N, M], itself [N], and what it is with
    each modality masked [N, M]."""

    embeddings: Tensor
    present: Tensor
    states: Tensor
    shares: Tensor
    loss: Tensor
    masked_loss: Tensor


def measure(networks: Networks, examples: Examples) -> Measured:
    """Of one experience at least; `networks` are frozen."""
    parts = []
    for start in range(0, len(examples), ROWS):
        rows = slice(start, start + ROWS)
        parts.append(_measure(networks, examples.experiences[rows], examples.slots[rows, None], examples.rewards[rows]))
    names = Measured.__slots__
    return Measured(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def importance_of(measured: Measured, modalities: Sequence[str]) -> ModalityImportance:
    """Means over the experiences; shares over those where the estimate depends on any modality at all."""
    depends_N = measured.shares.sum(1) > 0
    learned = bool(depends_N.any())
    loss = float(measured.loss.double().mean())
    shares_M = measured.shares[depends_N].mean(0).tolist()
    rises_M = (measured.masked_loss.double().mean(0) - loss).tolist()
    missing_M = (~measured.present).double().mean(0).tolist()
    return ModalityImportance(
        loss=loss if learned else None,
        modalities={
            name: ModalityFigures(
                share=share if learned else None, loss_rise=rise if learned else None, missing_rate=missing
            )
            for name, share, rise, missing in zip(modalities, shares_M, rises_M, missing_M, strict=True)
        },
    )


def _measure(
    networks: Networks, experiences: Sequence[PreparedExperience], slots_N1: Tensor, rewards_N: Tensor
) -> Measured:
    architecture = networks.architecture
    with torch.no_grad():
        batch = collate([one.features for one in experiences], list(architecture.modalities))
        embeddings_NMD, present_NM = networks.encoder(batch)
        actions = collate_bags([one.action for one in experiences]) if architecture.action_features else None
        actions_ND = None if actions is None else networks.encoder.encode_actions(actions)

    def squared_error(states_NS: Tensor) -> Tensor:
        inputs_NI = states_NS if actions_ND is None else torch.cat([states_NS, actions_ND], dim=1)
        mean_N: Tensor = networks.q_network(inputs_NI).mean.gather(1, slots_N1)[:, 0]
        return (mean_N - rewards_N).square()

    leaves = {name: embeddings_NMD[:, m].clone().requires_grad_() for m, name in enumerate(architecture.modalities)}
    states_NS = networks.fusion(torch.stack(list(leaves.values()), dim=1), present_NM)
    loss_N = squared_error(states_NS)
    shares = importance_shares(loss_N.sum(), leaves)
    masked = []
    with torch.no_grad():
        for m in range(len(leaves)):
            rest_NM = present_NM.clone()
            rest_NM[:, m] = False
            masked.append(squared_error(networks.fusion(embeddings_NMD, rest_NM)))
    return Measured(
        embeddings_NMD,
        present_NM,
        states_NS.detach(),
        torch.stack(list(shares.values()), dim=1),
        loss_N.detach(),
        torch.stack(masked, dim=1),
    )
