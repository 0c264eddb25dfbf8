"""Fusion of modalities into one state (the book, sections 1.2.2, 2.1.2 and 2.5.3).

Shapes: B batch, T tokens of all modalities concatenated, M modalities, D embedding, K key, V value, S sum of the
encoded sizes, O output. A mask is True where present; what stands elsewhere never matters, NaN included, and gets no
gradient. With nothing present the result is zeros.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from shared.functional.masking import masked_softmax

__all__ = ["attention_fusion", "coupled_projection", "shared_attention", "weighted_sum_fusion"]


def shared_attention(
    embeddings_BTD: Tensor, w_q_DK: Tensor, w_k_DK: Tensor, w_v_DV: Tensor, mask_BT: Tensor | None = None
) -> Tensor:
    """Shared attention over the concatenated embeddings: softmax(W_q E (W_k E)ᵀ / √d_k) W_v E.

    Equation 1, section 1.2.2.

    Args:
        embeddings_BTD: the tokens of every modality, one after the other.
        w_q_DK: projects to queries.
        w_k_DK: projects to keys.
        w_v_DV: projects to values.
        mask_BT: True where the token is present; None: all are.

    Returns:
        [B, T, V]; zeros at absent tokens.
    """
    e_BTD = _zero_absent(embeddings_BTD, mask_BT)
    scores_BTT = (e_BTD @ w_q_DK) @ (e_BTD @ w_k_DK).mT / math.sqrt(w_k_DK.shape[-1])
    attended_BTV = masked_softmax(scores_BTT, None if mask_BT is None else mask_BT[:, None, :]) @ (e_BTD @ w_v_DV)
    return _zero_absent(attended_BTV, mask_BT)


def coupled_projection(encoded: Sequence[Tensor], w_f_OS: Tensor, b_f_O: Tensor) -> Tensor:
    """Couples separately encoded modalities: W_f [H_1; …; H_M] + b_f.

    Equation 2, section 1.2.2. Each H_m comes from a transformer of its own (shared.networks), which zeroes absent ones.

    Args:
        encoded: H_1 … H_M, each [B, D_m], S = Σ D_m.
        w_f_OS: coupling weights.
        b_f_O: coupling bias.

    Returns:
        [B, O].
    """
    return functional.linear(torch.cat(list(encoded), dim=-1), w_f_OS, b_f_O)


def attention_fusion(embeddings_BMD: Tensor, w_a: Tensor, mask_BM: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention-based fusion: Σ_m α_m E_m with α = softmax(W_a [E_1; …; E_M]).

    Equation 5, section 2.1.2.

    Args:
        embeddings_BMD: one embedding a modality.
        w_a: attention weights [M, M·D].
        mask_BM: True where the modality is present; None: all are.

    Returns:
        The fused embedding [B, D], and α [B, M], which sums to one over the modalities present.
    """
    e_BMD = _zero_absent(embeddings_BMD, mask_BM)
    alpha_BM = masked_softmax(functional.linear(e_BMD.flatten(1), w_a), mask_BM)
    return torch.einsum("bm,bmd->bd", alpha_BM, e_BMD), alpha_BM


def weighted_sum_fusion(features_BMD: Tensor, logits_M: Tensor, mask_BM: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Weighted-sum fusion: Σ_m w_m F_m with Σ_m w_m = 1, where w = softmax(logits) is learned.

    Equation 6, section 2.5.3.

    Args:
        features_BMD: the features of each modality.
        logits_M: the learned logits of the weights, the same for every row.
        mask_BM: True where the modality is present; None: all are.

    Returns:
        The fused features [B, D], and w [B, M], which sums to one over the modalities present.
    """
    f_BMD = _zero_absent(features_BMD, mask_BM)
    weights_BM = masked_softmax(logits_M.expand(f_BMD.shape[:2]), mask_BM)
    return torch.einsum("bm,bmd->bd", weights_BM, f_BMD), weights_BM


def _zero_absent(x_BMD: Tensor, mask_BM: Tensor | None) -> Tensor:
    return x_BMD if mask_BM is None else x_BMD.masked_fill(~mask_BM[..., None], 0.0)
