"""Weights over what is present.

Shapes: B batch, M alternatives (modalities, tokens, actions); `...` any leading dimensions.
"""

import math

from torch import Tensor

__all__ = ["masked_softmax"]


def masked_softmax(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax renormalised over what is present: exp(l_m) / Σ_{present k} exp(l_k).

    Args:
        logits: [..., M]; what stands where the mask is False never matters, NaN included.
        mask: broadcastable to [..., M], True where present; None: all are.

    Returns:
        Weights [..., M] that sum to one over the present; zeros where none is. The gradient of an absent logit is 0.
    """
    if mask is None:
        return logits.softmax(-1)
    # Filled twice: softmax makes a row of -inf NaN, forward and backward, and each fill stops one of them.
    return logits.masked_fill(~mask, -math.inf).softmax(-1).masked_fill(~mask, 0.0)
