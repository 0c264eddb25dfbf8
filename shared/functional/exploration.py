"""From scores to the probability of each action, and the draw from it (the book, section 4.5.1, and beyond).

Shapes: B batch, A actions, E edges and C cells of a grid. All of it is float64, whatever comes in. A mask is True where
an action is allowed: any other has probability 0, and its scores never matter, NaN included. A row without any allowed
action is all zeros.
"""

import math
import sys

import torch
from torch import Generator, Tensor

from shared.functional.masking import masked_softmax

__all__ = [
    "boltzmann_probabilities",
    "draw_action",
    "epsilon_greedy_probabilities",
    "sample_action",
    "square_cb_probabilities",
    "thompson_probabilities",
    "upper_confidence_probabilities",
    "with_floor",
]

_CELLS = 512
_TAIL = 6.0  # standard deviations; what lies beyond is left out
_LEAST_VARIANCE = 1e-300  # σ and 1 / σ stay finite
_LEAST_FACTOR = 1e-200  # a product that has it as a factor can still be divided by it
_GREATEST_RATIO = 1e8  # of the width to the narrowest distribution that the grid resolves
_TIE = 1e-9  # of upper confidence bounds
_CHUNK = 2**16  # values of distribution functions held at a time


def epsilon_greedy_probabilities(q_BA: Tensor, epsilon: float, mask_BA: Tensor | None = None) -> Tensor:
    """Epsilon-greedy: (1 - ε) [a = argmax Q] + ε / |allowed|.

    Equation 12, section 4.5.1. Actions that tie for the greatest Q share 1 - ε.

    Args:
        q_BA: Q(s, ·).
        epsilon: ε in [0, 1].
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A].
    """
    allowed_BA = _allowed(q_BA, mask_BA)
    scores_BA = q_BA.double().masked_fill(~allowed_BA, -math.inf)
    greedy_BA = allowed_BA & (scores_BA == scores_BA.amax(-1, keepdim=True))
    return with_floor(_uniform(greedy_BA), epsilon, allowed_BA)


def boltzmann_probabilities(q_BA: Tensor, temperature: float, mask_BA: Tensor | None = None) -> Tensor:
    """Boltzmann exploration: exp(Q / τ) / Σ_b exp(Q_b / τ).

    Equation 13, section 4.5.1. τ → 0 is greedy with ties shared, τ → ∞ uniform; both limits are themselves allowed.

    Args:
        q_BA: Q(s, ·).
        temperature: τ ≥ 0, in units of Q.
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A].
    """
    allowed_BA = _allowed(q_BA, mask_BA)
    scores_BA = q_BA.double().masked_fill(~allowed_BA, -math.inf)
    below_best_BA = scores_BA - scores_BA.amax(-1, keepdim=True)
    return masked_softmax(below_best_BA / max(temperature, sys.float_info.min), allowed_BA)


def thompson_probabilities(mean_BA: Tensor, variance_BA: Tensor, mask_BA: Tensor | None = None) -> Tensor:
    """Thompson sampling without sampling: the probability that each action's value is the greatest of all.

    Beyond the book (Thompson 1933): p_a = ∫ Π_{b≠a} F_b(x) dF_a(x), where the values are independent and F_a is the
    normal distribution N(μ_a, σ_a²). Equal actions share exactly; with every σ at 0 the greatest mean takes all.

    Args:
        mean_BA: μ, finite where allowed.
        variance_BA: σ² ≥ 0, finite where allowed.
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A], by a deterministic quadrature: within 1e-3 of the integral for σ up to 10⁴ apart, mostly within 1e-5.
    """
    allowed_BA = _allowed(mean_BA, mask_BA)
    means_BA = mean_BA.double().masked_fill(~allowed_BA, -math.inf)
    deviations_BA = variance_BA.double().masked_fill(~allowed_BA, 1.0).clamp(min=_LEAST_VARIANCE).sqrt()
    rows = max(1, _CHUNK // (_CELLS * mean_BA.shape[-1]))  # bounds the memory at many actions
    chunks = zip(torch.split(means_BA, rows), torch.split(deviations_BA, rows), strict=True)
    return torch.cat([_probability_of_maximum(m_BA, s_BA) for m_BA, s_BA in chunks]).masked_fill(~allowed_BA, 0.0)


def upper_confidence_probabilities(
    mean_BA: Tensor, variance_BA: Tensor, scale: float, mask_BA: Tensor | None = None
) -> Tensor:
    """The upper confidence bound: [a = argmax μ + c σ].

    Beyond the book (Auer 2002; Li et al. 2010, LinUCB). Actions that tie but for rounding share. Without a floor it
    never draws anything else, so that its logs cannot be evaluated.

    Args:
        mean_BA: μ.
        variance_BA: σ² ≥ 0.
        scale: c ≥ 0, standard deviations.
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A].
    """
    allowed_BA = _allowed(mean_BA, mask_BA)
    bound_BA = mean_BA.double() + scale * variance_BA.double().clamp(min=0.0).sqrt()
    bound_BA = bound_BA.masked_fill(~allowed_BA, -math.inf)
    return _uniform(allowed_BA & (bound_BA >= bound_BA.amax(-1, keepdim=True) - _TIE))


def square_cb_probabilities(q_BA: Tensor, gamma: float, mask_BA: Tensor | None = None) -> Tensor:
    """SquareCB, inverse gap weighting: p_a = 1 / (n + γ (max Q - Q_a)), and the best takes what is left.

    Beyond the book (Abe and Long 1999; Foster and Rakhlin 2020). n is the number of allowed actions; actions that tie
    for the best share.

    Args:
        q_BA: Q(s, ·).
        gamma: γ ≥ 0, per unit of Q: 0 is uniform, ∞ greedy.
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A].
    """
    allowed_BA = _allowed(q_BA, mask_BA)
    scores_BA = q_BA.double().masked_fill(~allowed_BA, -math.inf)
    gap_BA = (scores_BA.amax(-1, keepdim=True) - scores_BA).masked_fill(~allowed_BA, math.inf)
    best_BA = allowed_BA & (gap_BA == 0)
    others_BA = (1.0 / (allowed_BA.sum(-1, keepdim=True) + gamma * gap_BA)).masked_fill(best_BA | ~allowed_BA, 0.0)
    return others_BA + (1.0 - others_BA.sum(-1, keepdim=True)) * _uniform(best_BA)


def with_floor(probabilities_BA: Tensor, floor: float, mask_BA: Tensor | None = None) -> Tensor:
    """Mixes in a floor, so that every allowed action stays possible: p ← (1 - φ) p + φ / |allowed|.

    Args:
        probabilities_BA: p, which sums to one over the allowed actions.
        floor: φ in [0, 1].
        mask_BA: True where allowed; None: all are.

    Returns:
        [B, A].
    """
    allowed_BA = _allowed(probabilities_BA, mask_BA)
    return (1 - floor) * probabilities_BA.double().masked_fill(~allowed_BA, 0.0) + floor * _uniform(allowed_BA)


def draw_action(probabilities_BA: Tensor, uniform_B: Tensor) -> Tensor:
    """Draws by the inverse of the distribution function; the same numbers give the same action everywhere.

    The rule, for whoever repeats it: in float64, add up p_0, p_1, … from left to right, one after the other,
    c_a = c_{a-1} + p_a; the action is the first a with c_a > u, or, if rounding leaves u at or above the last sum, the
    last a with p_a > 0. An action of probability 0 is never drawn.

    Args:
        probabilities_BA: p.
        uniform_B: u in [0, 1), float64.

    Returns:
        Index of the action [B], int64.

    Raises:
        ValueError: a row has no positive probability.
    """
    p_BA = probabilities_BA.double().cpu()  # elsewhere cumsum does not add in order
    possible_BA = p_BA > 0
    if not bool(possible_BA.any(-1).all()):
        raise ValueError("a row of probabilities has no positive entry")
    first_B = (p_BA.cumsum(-1) <= uniform_B.double().cpu()[:, None]).sum(-1)
    last_B = possible_BA.cumsum(-1).argmax(-1)
    return first_B.minimum(last_B).to(probabilities_BA.device)


def sample_action(probabilities_BA: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draws one action a row with `draw_action`.

    Args:
        probabilities_BA: p.
        generator: the source of the uniform numbers, on the CPU.

    Returns:
        Index of the action [B], int64, and its probability [B], float64.
    """
    uniform_B = torch.rand(len(probabilities_BA), generator=generator, dtype=torch.float64)
    action_B = draw_action(probabilities_BA, uniform_B)
    return action_B, probabilities_BA.double().gather(-1, action_B[:, None])[:, 0]


def _probability_of_maximum(mean_BA: Tensor, deviation_BA: Tensor) -> Tensor:
    """Midpoint rule: p_a ∝ Σ_C ΔF_a Π_{b≠a} F_b, with F_b the mean of its values at both edges of the cell."""
    centred_BA = mean_BA - mean_BA.amax(-1, keepdim=True)
    scale_BA = math.sqrt(0.5) / deviation_BA
    origin_BA1, scale_BA1 = (-centred_BA * scale_BA)[..., None], scale_BA[..., None]
    edges_B1E = _edges(centred_BA, deviation_BA)[:, None]
    p_BA = torch.zeros_like(centred_BA)
    # So many cells at a time as stay near the processor, and in place: what it takes is memory's time.
    cells = max(1, _CHUNK // centred_BA.numel())
    for start in range(0, _CELLS, cells):
        twice_cdf_BAE = torch.addcmul(origin_BA1, edges_B1E[..., start : start + cells + 1], scale_BA1).erf_().add_(1.0)
        middle_BAC = (twice_cdf_BAE[..., 1:] + twice_cdf_BAE[..., :-1]).mul_(0.25).clamp_(min=_LEAST_FACTOR)
        share_BAC = twice_cdf_BAE.diff().clamp_(min=0.0).div_(middle_BAC)
        p_BA += (share_BAC @ middle_BAC.prod(1)[..., None])[..., 0]
    return p_BA / p_BA.sum(-1, keepdim=True)


def _edges(mean_BA: Tensor, deviation_BA: Tensor) -> Tensor:
    """Edges [B, E] over the support of the maximum.

    Evenly spaced where the deviations are alike, else geometrically from the lower end: a distribution is at least as
    wide there as its distance from that end, or it is left behind, so that near the end alone a fine grid is needed.
    """
    lower_B1 = (mean_BA - _TAIL * deviation_BA).amax(-1, keepdim=True)
    width_B1 = (mean_BA + _TAIL * deviation_BA).amax(-1, keepdim=True) - lower_B1
    in_reach_BA = mean_BA + _TAIL * deviation_BA > lower_B1
    narrowest_B1 = deviation_BA.where(in_reach_BA, math.inf).amin(-1, keepdim=True)
    growth_B1 = (width_B1 / (2 * _TAIL * narrowest_B1)).clamp(1 + 1e-6, _GREATEST_RATIO).log()
    steps_E = torch.linspace(0.0, 1.0, _CELLS + 1, dtype=torch.float64, device=mean_BA.device)
    return lower_B1 + width_B1 * torch.expm1(growth_B1 * steps_E) / torch.expm1(growth_B1)


def _allowed(scores_BA: Tensor, mask_BA: Tensor | None) -> Tensor:
    return torch.ones_like(scores_BA, dtype=torch.bool) if mask_BA is None else mask_BA


def _uniform(allowed_BA: Tensor) -> Tensor:
    return allowed_BA.double() / allowed_BA.sum(-1, keepdim=True).clamp(min=1)
