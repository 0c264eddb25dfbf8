"""The four fusions as modules: they own the parameters, the book's functions hold the mathematics.

Shapes: B rows, M modalities, D embedding, S state. A modality that is missing never matters; with none, H is zeros.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from shared.functional import fusion
from shared.registry.manifest import Architecture

TOKENS: Final = 4


class AttentionFusion(nn.Module):
    """Equation 5, projected to the state's width."""

    def __init__(self, modalities: int, embedding_width: int, state_width: int) -> None:
        super().__init__()
        self.w_a = nn.Parameter(torch.zeros(modalities, modalities * embedding_width))
        self.projection = nn.Linear(embedding_width, state_width, bias=False)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """H [B, S]."""
        fused_BD, _ = fusion.attention_fusion(embeddings_BMD, self.w_a, present_BM)
        state_BS: Tensor = self.projection(fused_BD)
        return state_BS


class WeightedSumFusion(nn.Module):
    """Equation 6, projected to the state's width."""

    def __init__(self, modalities: int, embedding_width: int, state_width: int) -> None:
        super().__init__()
        self.logits_M = nn.Parameter(torch.zeros(modalities))
        self.projection = nn.Linear(embedding_width, state_width, bias=False)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """H [B, S]."""
        fused_BD, _ = fusion.weighted_sum_fusion(embeddings_BMD, self.logits_M, present_BM)
        state_BS: Tensor = self.projection(fused_BD)
        return state_BS


class SharedAttentionFusion(nn.Module):
    """Equation 1 over one token a modality, averaged over those present."""

    def __init__(self, _: int, embedding_width: int, state_width: int) -> None:
        super().__init__()
        self.w_q_DK = nn.Parameter(_orthogonal(embedding_width, embedding_width))
        self.w_k_DK = nn.Parameter(_orthogonal(embedding_width, embedding_width))
        self.w_v_DS = nn.Parameter(_orthogonal(embedding_width, state_width))

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """H [B, S]."""
        attended_BMS = fusion.shared_attention(embeddings_BMD, self.w_q_DK, self.w_k_DK, self.w_v_DS, present_BM)
        even_M = attended_BMS.new_zeros(attended_BMS.shape[1])
        state_BS, _ = fusion.weighted_sum_fusion(attended_BMS, even_M, present_BM)
        return state_BS


class CoupledEncodersFusion(nn.Module):
    """Equation 2: a transformer a modality over its embedding cut in tokens, then one projection couples them."""

    def __init__(self, modalities: int, embedding_width: int, state_width: int) -> None:
        super().__init__()
        self.transformers = nn.ModuleList(_transformer(embedding_width // TOKENS) for _ in range(modalities))
        self.coupling = nn.Linear(modalities * embedding_width, state_width)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """H [B, S]."""
        batch, modalities, _ = embeddings_BMD.shape
        weight_BM = present_BM * (modalities / present_BM.sum(1, keepdim=True).clamp(min=1))
        tokens_BMTW = embeddings_BMD.masked_fill(~present_BM[..., None], 0.0).reshape(batch, modalities, TOKENS, -1)
        encoded = [
            transformer(tokens_BMTW[:, m]).flatten(1) * weight_BM[:, m, None]
            for m, transformer in enumerate(self.transformers)
        ]
        state_BS = fusion.coupled_projection(encoded, self.coupling.weight, self.coupling.bias)
        return state_BS.masked_fill(~present_BM.any(1, keepdim=True), 0.0)


STRATEGIES: Final[dict[str, Callable[[int, int, int], nn.Module]]] = {
    "attention": AttentionFusion,
    "weighted_sum": WeightedSumFusion,
    "shared_attention": SharedAttentionFusion,
    "coupled_encoders": CoupledEncodersFusion,
}


def build_strategy(architecture: Architecture) -> nn.Module:
    """The fusion that the architecture names, with random weights."""
    construct = STRATEGIES[architecture.fusion.strategy]
    return construct(len(architecture.modalities), architecture.embedding_width, architecture.state_width)


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))


def _transformer(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 2, dim_feedforward=4 * width, dropout=0.0, batch_first=True)
