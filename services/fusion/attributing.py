"""From the gradient of a loss with respect to H to the share of each modality in it.

Shapes: B decisions, M modalities, D embedding, S state.
"""

import torch
from torch import Tensor, nn

from shared.functional.attribution import importance_shares


def modality_shares(fusion: nn.Module, embeddings_BMD: Tensor, present_BM: Tensor, gradients_BS: Tensor) -> Tensor:
    """Shares float64 [B, M] in the importance; zeros where a modality is missing, or the loss depends on none."""
    leaves = {str(m): one_BD.detach().requires_grad_() for m, one_BD in enumerate(embeddings_BMD.unbind(1))}
    states_BS = fusion(torch.stack(list(leaves.values()), dim=1), present_BM)
    # The gradient of <∂L/∂H, H> with ∂L/∂H held fast is the vector-Jacobian product ∂L/∂E_m.
    shares = importance_shares((gradients_BS * states_BS).sum(), leaves)
    return torch.stack(list(shares.values()), dim=1)
