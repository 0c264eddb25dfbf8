"""Adapter fine-tuning: small layers learn while the rest stays frozen (the book, section 3.1.2).

Shapes: B batch, D embedding, R rank of the bottleneck.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["adapter", "adapter_loss"]


def adapter(h_BD: Tensor, w_down_RD: Tensor, b_down_R: Tensor, w_up_DR: Tensor, b_up_D: Tensor) -> Tensor:
    """Bottleneck adapter: H + W_up GELU(W_down H + b_down) + b_up.

    The f_adapter of equation 7, section 3.1.2 (Houlsby et al. 2019). With W_up and b_up zero it is the identity.

    Args:
        h_BD: what the frozen layer puts out.
        w_down_RD: projects down to the rank.
        b_down_R: its bias.
        w_up_DR: projects up again.
        b_up_D: its bias.

    Returns:
        [B, D].
    """
    return h_BD + functional.linear(functional.gelu(functional.linear(h_BD, w_down_RD, b_down_R)), w_up_DR, b_up_D)


def adapter_loss(task_loss: Tensor, adapter_parameters: Iterable[Tensor], beta: float) -> Tensor:
    """Loss of adapter fine-tuning: L_task(f_adapter(H; φ)) + β ‖φ‖².

    Equation 7, section 3.1.2.

    Args:
        task_loss: the task's loss under the adapter, a scalar.
        adapter_parameters: φ, tensors of any shapes.
        beta: β ≥ 0.

    Returns:
        A scalar.
    """
    return task_loss + beta * sum((phi.square().sum() for phi in adapter_parameters), torch.zeros(()))
