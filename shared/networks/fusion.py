"""The four fusions as modules: they own the parameters, the book's functions hold the mathematics.

Shapes: B rows, M modalities, D embedding, E embedding and view, F fused, S state. A modality that is missing never
matters; with none, H is zeros.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from shared.functional import fusion
from shared.registry.manifest import Architecture

TOKENS: Final = 4


class AttentionFusion(nn.Module):
    """Equation 5, projected to the fused width."""

    def __init__(self, modalities: int, embedding_width: int, fused_width: int) -> None:
        super().__init__()
        self.w_a = nn.Parameter(torch.zeros(modalities, modalities * embedding_width))
        self.projection = nn.Linear(embedding_width, fused_width, bias=False)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """[B, F]."""
        fused_BD, _ = fusion.attention_fusion(embeddings_BMD, self.w_a, present_BM)
        projected_BF: Tensor = self.projection(fused_BD)
        return projected_BF


class WeightedSumFusion(nn.Module):
    """Equation 6, projected to the fused width."""

    def __init__(self, modalities: int, embedding_width: int, fused_width: int) -> None:
        super().__init__()
        self.logits_M = nn.Parameter(torch.zeros(modalities))
        self.projection = nn.Linear(embedding_width, fused_width, bias=False)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """[B, F]."""
        fused_BD, _ = fusion.weighted_sum_fusion(embeddings_BMD, self.logits_M, present_BM)
        projected_BF: Tensor = self.projection(fused_BD)
        return projected_BF


class SharedAttentionFusion(nn.Module):
    """Equation 1 over one token a modality, averaged over those present."""

    def __init__(self, _: int, embedding_width: int, fused_width: int) -> None:
        super().__init__()
        self.w_q_DK = nn.Parameter(_orthogonal(embedding_width, embedding_width))
        self.w_k_DK = nn.Parameter(_orthogonal(embedding_width, embedding_width))
        self.w_v_DF = nn.Parameter(_orthogonal(embedding_width, fused_width))

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """[B, F]."""
        attended_BMF = fusion.shared_attention(embeddings_BMD, self.w_q_DK, self.w_k_DK, self.w_v_DF, present_BM)
        even_M = attended_BMF.new_zeros(attended_BMF.shape[1])
        fused_BF, _ = fusion.weighted_sum_fusion(attended_BMF, even_M, present_BM)
        return fused_BF


class CoupledEncodersFusion(nn.Module):
    """Equation 2: a transformer a modality over its embedding cut in tokens, then one projection couples them."""

    def __init__(self, modalities: int, embedding_width: int, fused_width: int) -> None:
        super().__init__()
        self.transformers = nn.ModuleList(_transformer(embedding_width // TOKENS) for _ in range(modalities))
        self.coupling = nn.Linear(modalities * embedding_width, fused_width)

    def forward(self, embeddings_BMD: Tensor, present_BM: Tensor) -> Tensor:
        """[B, F]."""
        batch, modalities, _ = embeddings_BMD.shape
        weight_BM = present_BM * (modalities / present_BM.sum(1, keepdim=True).clamp(min=1))
        tokens_BMTW = embeddings_BMD.masked_fill(~present_BM[..., None], 0.0).reshape(batch, modalities, TOKENS, -1)
        encoded = [
            transformer(tokens_BMTW[:, m]).flatten(1) * weight_BM[:, m, None]
            for m, transformer in enumerate(self.transformers)
        ]
        fused_BF = fusion.coupled_projection(encoded, self.coupling.weight, self.coupling.bias)
        return fused_BF.masked_fill(~present_BM.any(1, keepdim=True), 0.0)


class StateFusion(nn.Module):
    """H from what was encoded: the fused embeddings, behind them each modality's view, and which are present."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        construct = STRATEGIES[architecture.fusion.strategy]
        self._embedding_width = architecture.embedding_width
        self.strategy = construct(len(architecture.modalities), architecture.embedding_width, architecture.fused_width)

    def forward(self, encoded_BME: Tensor, present_BM: Tensor) -> Tensor:
        """H [B, S]."""
        fused_BF = self.strategy(encoded_BME[..., : self._embedding_width], present_BM)
        # Together they have one length, however many there are.
        share_BM = present_BM / present_BM.sum(1, keepdim=True).clamp(min=1).sqrt()
        views_BMV = encoded_BME[..., self._embedding_width :].masked_fill(~present_BM[..., None], 0.0)
        views_BMV = views_BMV * share_BM[..., None]
        return torch.cat([fused_BF, views_BMV.flatten(1), present_BM.to(fused_BF)], dim=1)


STRATEGIES: Final[dict[str, Callable[[int, int, int], nn.Module]]] = {
    "attention": AttentionFusion,
    "weighted_sum": WeightedSumFusion,
    "shared_attention": SharedAttentionFusion,
    "coupled_encoders": CoupledEncodersFusion,
}


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))


def _transformer(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(width, 2, dim_feedforward=4 * width, dropout=0.0, batch_first=True)
