"""An adapter as a module: it owns the parameters, the book's function holds the mathematics.

Shapes: B batch, D embedding, R rank.
"""

import torch
from torch import Tensor, nn

from shared.functional.adaptation import adapter


class Adapter(nn.Module):
    """The residual adapter of equation 7. It starts as the identity: its projection up is zero, the one down is not."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.w_down_RD = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.b_down_R = nn.Parameter(torch.zeros(rank))
        self.w_up_DR = nn.Parameter(torch.zeros(width, rank))
        self.b_up_D = nn.Parameter(torch.zeros(width))

    def forward(self, h_BD: Tensor) -> Tensor:
        """[B, D]."""
        return adapter(h_BD, self.w_down_RD, self.b_down_R, self.w_up_DR, self.b_up_D)
