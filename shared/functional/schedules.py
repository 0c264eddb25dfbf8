"""Schedules of the learning rate (the book, section 3.3.2)."""

import math

__all__ = ["cosine_annealing"]


def cosine_annealing(step: int, total_steps: int, lr_max: float, lr_min: float) -> float:
    """Cosine annealing: η_min + ½ (η_max - η_min)(1 + cos(π t / T)).

    Equation 8, section 3.3.2 (Loshchilov and Hutter 2017, without restarts).

    Args:
        step: t ≥ 0.
        total_steps: T.
        lr_max: η_max, the learning rate at step 0.
        lr_min: η_min, the learning rate at step T.

    Returns:
        The learning rate at the step; lr_min at T and past it.
    """
    if step >= total_steps:
        return lr_min
    return lr_min + 0.5 * (lr_max - lr_min) * (1 + math.cos(math.pi * step / total_steps))
