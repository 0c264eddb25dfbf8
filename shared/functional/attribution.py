"""Which modality mattered, and whether the action follows the state (the book, sections 3.4.1 and 5.5.2).

Shapes: B batch, N rows; an embedding E_m is [B, ...].
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["importance_shares", "modality_correlation", "modality_importance"]


def modality_importance(loss: Tensor, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Importance of each modality: |∂L/∂E_m|, elementwise.

    Equation 9, section 3.4.1 (Simonyan, Vedaldi and Zisserman 2014).

    Args:
        loss: L, a scalar computed from the embeddings; its graph is kept.
        embeddings: E_m by modality, each requiring gradients.

    Returns:
        By modality, a tensor in the shape of E_m; zeros where L does not depend on it.
    """
    gradients = torch.autograd.grad(loss, list(embeddings.values()), retain_graph=True, materialize_grads=True)
    return {name: gradient.abs() for name, gradient in zip(embeddings, gradients, strict=True)}


def importance_shares(loss: Tensor, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Share of each modality in the importance: ‖∂L/∂E_m ⊙ E_m‖ / Σ_k ‖∂L/∂E_k ⊙ E_k‖, row by row.

    Beside equation 9: gradient times input (Shrikumar et al. 2017), so that modalities of different scale compare.

    Args:
        loss: L, a scalar computed from the embeddings; its graph is kept.
        embeddings: E_m by modality, each [B, ...] and requiring gradients. One that is absent from a row gets no
            gradient there and so no share, whatever stands in it, NaN included.

    Returns:
        By modality, shares [B] in float64 that sum to one over the modalities; zeros where L depends on none.
    """
    gradients = modality_importance(loss, embeddings)
    salience = (torch.where(g == 0, 0.0, g.double() * embeddings[name].detach()) for name, g in gradients.items())
    norms_MB = torch.stack([s.flatten(1).norm(dim=-1) for s in salience])
    shares_MB = norms_MB / norms_MB.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return dict(zip(embeddings, shares_MB, strict=True))


def modality_correlation(actions_N: Tensor, states_N: Tensor) -> float:
    """Combined modality correlation: ρ = Cov(A, S) / √(Var A · Var S), in float64.

    Equation 17, section 5.5.2 (Pearson).

    Args:
        actions_N: A, a number a row about the action.
        states_N: S, a number a row about the state.

    Returns:
        ρ in [-1, 1]; NaN where either is constant, because a constant correlates with nothing.
    """
    if bool((actions_N == actions_N[:1]).all() | (states_N == states_N[:1]).all()):
        return math.nan
    a_N, s_N = (x_N.double() - x_N.double().mean() for x_N in (actions_N, states_N))
    return float(((a_N / a_N.norm()) @ (s_N / s_N.norm())).clamp(-1.0, 1.0))
