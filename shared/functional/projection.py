"""Principal component analysis, which compresses an embedding (the book, section 4.4.3).

Shapes: N rows, D dimensions, K components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pca", "fit_pca", "pca_transform"]


@dataclass(frozen=True)
class Pca:
    """A fitted projection.

    Attributes:
        mean: [D], subtracted before projecting.
        components: W [D, K], orthonormal columns, the greatest variance first.
        explained_variance: [K], the variance along each component (divided by N - 1).
    """

    mean: Tensor
    components: Tensor
    explained_variance: Tensor


def fit_pca(x_ND: Tensor, components: int) -> Pca:
    """Fits the K directions of greatest variance, by singular value decomposition in float64.

    For equation 11, section 4.4.3 (Jolliffe 2002). The sign is fixed: the entry of greatest magnitude is positive.

    Args:
        x_ND: the rows to fit on, floating point.
        components: K, from 1 to min(N, D).

    Returns:
        The projection in the dtype of x_ND.

    Raises:
        ValueError: K is out of range.
    """
    rows = len(x_ND)
    if not 1 <= components <= min(x_ND.shape):
        raise ValueError(f"components must lie between 1 and min(N, D) = {min(x_ND.shape)}, not {components}")
    mean_D = x_ND.double().mean(0)
    _, singular, directions = torch.linalg.svd(x_ND.double() - mean_D, full_matrices=False)
    w_DK = directions[:components].T
    sign_K = w_DK.gather(0, w_DK.abs().argmax(0, keepdim=True))[0].sign()
    variance_K = singular[:components].square() / max(rows - 1, 1)
    return Pca(mean_D.to(x_ND.dtype), (w_DK * sign_K).to(x_ND.dtype), variance_K.to(x_ND.dtype))


def pca_transform(x_ND: Tensor, pca: Pca) -> Tensor:
    """Projects onto the principal components: Z = X W, X centred by the fitted mean.

    Equation 11, section 4.4.3.

    Args:
        x_ND: the rows to project.
        pca: what fit_pca returned.

    Returns:
        Z [N, K].
    """
    return (x_ND - pca.mean) @ pca.components
