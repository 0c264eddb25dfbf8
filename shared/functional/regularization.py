"""Regularization that keeps a fine-tuned model near the one it started from (the book, section 1.7)."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["l2_sp_penalty"]


def l2_sp_penalty(parameters: Iterable[Tensor], pretrained: Iterable[Tensor], coefficient: float) -> Tensor:
    """L2 penalty towards the starting point (L2-SP): λ ‖θ - θ_pretrained‖², to be added to the task's loss.

    Equation 4, section 1.7 (Li, Grandvalet and Davoine 2018).

    Args:
        parameters: θ, tensors of any shapes.
        pretrained: θ_pretrained, in the same order and shapes.
        coefficient: λ ≥ 0.

    Returns:
        A scalar.

    Raises:
        ValueError: the two differ in length.
    """
    squares = ((theta - start).square().sum() for theta, start in zip(parameters, pretrained, strict=True))
    return coefficient * sum(squares, torch.zeros(()))
