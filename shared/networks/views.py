"""A compressed view of what a modality brought, beside its learned embedding: a linear head learns from it at once.

A raw input becomes a vector of fixed width and is projected (equation 11). Until principal components have been fitted,
the projection is one that suits its kind whatever the data are: the lowest frequencies of a picture or a sound (the
cosine transform, which is nearly their principal components: Ahmed, Natarajan and Rao 1974), a signed sum of buckets
for all else (Weinberger et al. 2009, Feature Hashing). Views have one length, whatever the scale of the input.

Shapes: N rows, R raw numbers, V numbers of a view, T stretches of time, F frequency bands, H and W sides of a picture.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.functional.projection import Pca, fit_pca, pca_transform
from shared.loop_settings import ModalitySettings
from shared.networks.batches import Bags

# The length of a view: how far the head's prior lets its weights reach.
LENGTH: Final = 5.0
GRID: Final = 16
COLOUR_GRID: Final = 8
SKETCH: Final = 256
# Fewer rows a component tell noise from structure badly.
ROWS_PER_COMPONENT: Final = 4
# Knuth's multiplicative hash.
MULTIPLIER: Final = 2654435761


class View(nn.Module):
    """The view of one modality: from what its encoder reads to [N, V]."""

    mean: Tensor
    components: Tensor
    explained_variance: Tensor

    def __init__(self, raw: Callable[[Tensor | Bags], Tensor], first_RV: Tensor) -> None:
        super().__init__()
        self._raw = raw
        self.register_buffer("mean", torch.zeros(len(first_RV)))
        self.register_buffer("components", first_RV)
        self.register_buffer("explained_variance", torch.ones(first_RV.shape[1]))

    def forward(self, inputs: Tensor | Bags) -> Tensor:
        """Of length five each; zeros where there is nothing to see."""
        projected_NV = pca_transform(self._raw(inputs), Pca(self.mean, self.components, self.explained_variance))
        return with_length(projected_NV)

    def fit(self, inputs: Tensor | Bags) -> None:
        """Projects on the principal components of these rows from now on, unless they are too few to tell."""
        raw_NR = self._raw(inputs)
        width = self.components.shape[1]
        if len(raw_NR) >= ROWS_PER_COMPONENT * width:
            pca = fit_pca(raw_NR, width)
            self.mean, self.components, self.explained_variance = pca.mean, pca.components, pca.explained_variance


def build_view(modality: ModalitySettings, width: int) -> View:
    """The view of a modality's kind, of so many numbers, fewer where its settings say so."""
    width = min(width, modality.components or width)
    match modality.kind:
        case "image":
            return View(_picture, _first_of_pictures(width))
        case "audio":
            return View(_sound, _frequencies(GRID, width, skipped=1))
        case "video":
            return View(_clip, _first_of_clips(width))
        case "text" | "tabular" | "embedding":
            return View(sketch, _folded(width))


def build_trunk_view(dimension: int, width: int) -> View:
    """The view of what a pretrained encoder gives, all of its numbers: they are few, and each says something."""
    folded_RV = torch.zeros(dimension + 1, width)
    index = torch.arange(dimension)
    return View(_centred, folded_RV.index_put((index, index % width), _sign(index)))


def build_action_view(width: int) -> View:
    """The view of candidate actions. It is not to be fitted: they come and go."""
    return View(sketch, _folded(width))


def interactions(context_NC: Tensor, action_NV: Tensor, width: int) -> Tensor:
    """A sketch [N, width] of all products of a context's numbers with those of an action's view, and of the view alone.

    Count sketches of the outer product, convolved (Pham and Pagh 2013, Fast and Scalable Polynomial Kernels via
    Explicit Feature Maps), and brought to the length of a view: before anything is learned, no action is more uncertain
    than another. `width` is above C.
    """
    with_one_NC = functional.pad(context_NC / LENGTH, (0, 1), value=1.0)
    # Few numbers: their sketch's transform is sooner summed up than sketched and transformed.
    waves_V2F = _sketched_waves(action_NV.shape[1], width).to(action_NV)
    action_NF = torch.view_as_complex((action_NV @ waves_V2F).view(len(action_NV), -1, 2))
    product_NW: Tensor = torch.fft.irfft(torch.fft.rfft(with_one_NC, width) * action_NF, width)
    return with_length(product_NW)


def with_length(rows_NX: Tensor) -> Tensor:
    """Rows brought to the length of a view; zeros stay."""
    return LENGTH * functional.normalize(rows_NX, dim=1, eps=1e-6)


@lru_cache(maxsize=32)
def _sketched_waves(count: int, width: int) -> Tensor:
    """float64 [V, 2 (W // 2 + 1)]: the Fourier transform of each number's count sketch, real and imaginary in turn."""
    # It is kept, and what inference mode makes has no part in gradients.
    with torch.inference_mode(False):
        index_V = torch.arange(count)
        sketched_VW = torch.zeros(count, width, dtype=torch.float64)
        sketched_VW[index_V, (index_V * MULTIPLIER >> 20) % width] = _sign(index_V).double()
        return torch.view_as_real(torch.fft.rfft(sketched_VW)).flatten(1)


def sketch(inputs: Tensor | Bags) -> Tensor:
    """Signed sums [N, 256] of a bag's weights, or of an embedding's numbers: inner products survive on average."""
    if isinstance(inputs, Tensor):
        blocks = -(-inputs.shape[1] // SKETCH)
        padded_NPS = functional.pad(inputs, (0, blocks * SKETCH - inputs.shape[1])).view(len(inputs), blocks, SKETCH)
        return (padded_NPS * _sign(torch.arange(blocks, device=inputs.device))[:, None]).sum(1)
    rows = torch.bucketize(torch.arange(len(inputs.buckets), device=inputs.buckets.device), inputs.offsets, right=True)
    place = (rows - 1) * SKETCH + inputs.buckets % SKETCH
    flat = inputs.weights.new_zeros(len(inputs.offsets) * SKETCH)
    return flat.index_add(0, place, inputs.weights * _sign(inputs.buckets // SKETCH)).view(-1, SKETCH)


def _centred(embeddings_NK: Tensor | Bags) -> Tensor:
    """[N, K]: without what all numbers of an embedding share, which says nothing and would outweigh the rest."""
    assert isinstance(embeddings_NK, Tensor)
    return embeddings_NK - embeddings_NK.mean(1, keepdim=True)


def _sign(number: Tensor) -> Tensor:
    """1 or -1, as if at random."""
    return 1.0 - 2.0 * ((number * MULTIPLIER >> 16) & 1)


def _picture(pixels_N3HW: Tensor | Bags) -> Tensor:
    """[N, 384]: 16 by 16 greys, standardised within the picture, and 8 by 8 of how red and how blue it is."""
    assert isinstance(pixels_N3HW, Tensor)
    colours_N3GG = functional.adaptive_avg_pool2d(pixels_N3HW.float() / 255.0, GRID)
    grey_N1GG = colours_N3GG.mean(1, keepdim=True)
    red_blue_N2CC = functional.adaptive_avg_pool2d(colours_N3GG[:, ::2] - grey_N1GG, COLOUR_GRID)
    grey_NR = grey_N1GG.flatten(1)
    centred_NR = grey_NR - grey_NR.mean(1, keepdim=True)
    standardised_NR = centred_NR / (centred_NR.square().mean(1, keepdim=True).sqrt() + 0.05)
    # Differences of colour are small numbers: twice as many cells each, and a range of about a quarter.
    return torch.cat([standardised_NR, 8.0 * red_blue_N2CC.flatten(1)], dim=1)


def _first_of_pictures(width: int) -> Tensor:
    """[384, V]: a fifth of the view for colour."""
    colour = max(1, width // 10)
    grey_RV = _frequencies(GRID, width - 2 * colour, skipped=1)
    colour_RV = _frequencies(COLOUR_GRID, colour, skipped=0)
    first_RV = torch.zeros(GRID**2 + 2 * COLOUR_GRID**2, width)
    first_RV[: GRID**2, : width - 2 * colour] = grey_RV
    first_RV[GRID**2 :, width - 2 * colour :] = torch.kron(torch.eye(2), colour_RV)
    return first_RV


def _clip(pixels_NT3HW: Tensor | Bags) -> Tensor:
    """[N, 640]: what a picture has, of all frames together, and how greys change from the first half to the second."""
    assert isinstance(pixels_NT3HW, Tensor)
    first_NR, second_NR = (_picture(half.float().mean(1)) for half in pixels_NT3HW.chunk(2, dim=1))
    return torch.cat([(first_NR + second_NR) / 2, (second_NR - first_NR)[:, : GRID**2]], dim=1)


def _first_of_clips(width: int) -> Tensor:
    """[640, V]: a quarter of the view for what changes."""
    picture_RV, change_RV = _first_of_pictures(width - width // 4), _frequencies(GRID, width // 4, skipped=0)
    first_RV = torch.zeros(len(picture_RV) + len(change_RV), width)
    first_RV[: len(picture_RV), : picture_RV.shape[1]] = picture_RV
    first_RV[len(picture_RV) :, picture_RV.shape[1] :] = change_RV
    return first_RV


def _sound(energies_NTF: Tensor | Bags) -> Tensor:
    """[N, 256]: 16 stretches of time by 16 bands."""
    assert isinstance(energies_NTF, Tensor)
    return functional.adaptive_avg_pool2d(energies_NTF, GRID).flatten(1)


def _frequencies(side: int, count: int, skipped: int) -> Tensor:
    """[side², count]: the lowest waves of the two-dimensional cosine transform, behind the `skipped` lowest."""
    index = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (index[:, None] + 0.5) * index) * math.sqrt(2 / side)
    waves[:, 0] = math.sqrt(1 / side)
    order = sorted((row + column, abs(row - column), row, column) for row in range(side) for column in range(side))
    picked = [torch.outer(waves[:, row], waves[:, column]).flatten() for _, _, row, column in order]
    return torch.stack(picked[skipped : skipped + count], dim=1).float()


def _folded(width: int) -> Tensor:
    """[256, V]: each number of a sketch goes to one of the view, with a sign."""
    index = torch.arange(SKETCH)
    return torch.zeros(SKETCH, width).index_put((index, index % width), _sign(index))
