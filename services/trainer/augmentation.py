"""Random changes of minibatches that leave their meaning alone, so that few experiences teach more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from shared.loop_settings import ModalitySettings
from shared.networks.batches import Batch, ModalityBatch
from shared.networks.preparation import Row
from shared.networks.preprocessing import ID_BUCKETS, Bag

DROPPED: Final = 0.1
SHIFT_PIXELS: Final = 2
# Often enough for the features to say all that they can by themselves.
NAMELESS: Final = 0.5
FEATURES_DROPPED: Final = 0.3
PICTURES: Final = frozenset({"image", "video"})


def drop_modalities(rows: Sequence[Row], names: Sequence[str], generator: Generator) -> list[Row]:
    """Leaves each of the named modalities out at random, never a row's last: one that goes missing later does no harm.

    What is drawn depends on the number of rows and names alone.
    """
    stays_NM = torch.rand(len(rows), len(names), generator=generator) >= DROPPED
    return [_keep(row, names, stays_M) for row, stays_M in zip(rows, stays_NM.tolist(), strict=True)]


def drop_features(actions: Sequence[Bag], generator: Generator) -> list[Bag]:
    """Leaves identities and single features of actions out at random, never all of one that has no features.

    New actions are known by their features alone, and share only some of them with those that were learned. What is
    drawn depends on the actions alone.
    """
    sizes = [len(bag.buckets) for bag in actions]
    nameless_N = torch.rand(len(actions), generator=generator) < NAMELESS
    stays_P = torch.rand(sum(sizes), generator=generator) >= FEATURES_DROPPED
    stays = np.split(stays_P.numpy(), np.cumsum(sizes)[:-1])
    return [_keep_buckets(*one) for one in zip(actions, nameless_N.tolist(), stays, strict=True)]


def draw_shifts(rows: int, modalities: int, generator: Generator) -> Tensor:
    """How far to move the picture of each modality in each row, down and to the right: pixels, int64 [N, M, 2]."""
    return torch.randint(-SHIFT_PIXELS, SHIFT_PIXELS + 1, (rows, modalities, 2), generator=generator)


def shift_images(batch: Batch, modalities: Sequence[ModalitySettings], shifts_NM2: Tensor) -> Batch:
    """Moves every picture, and a clip's frames alike, by what was drawn for it, the edge continued."""
    shifted = [
        _shift_modality(one, shifts_NM2[:, m]) if one is not None and modality.kind in PICTURES else one
        for m, (one, modality) in enumerate(zip(batch.modalities, modalities, strict=True))
    ]
    return replace(batch, modalities=shifted)


def _keep(row: Row, names: Sequence[str], stays: Sequence[bool]) -> Row:
    kept = {name: row[name] for name, stay in zip(names, stays, strict=True) if stay and name in row}
    return kept or row


def _keep_buckets(bag: Bag, nameless: bool, stays: NDArray[np.bool_]) -> Bag:
    kept = stays.copy()
    kept[:ID_BUCKETS] = not nameless
    if not kept.any():
        return bag
    return Bag(bag.buckets[kept], bag.weights[kept])


def _shift_modality(modality: ModalityBatch, shifts_N2: Tensor) -> ModalityBatch:
    assert isinstance(modality.inputs, Tensor)
    return replace(modality, inputs=_shift(modality.inputs, shifts_N2[modality.rows]))


def _shift(pixels_NXHW: Tensor, shifts_N2: Tensor) -> Tensor:
    """[N, …, H, W]: a row is moved as a whole, whatever stands between."""
    count, height, width = len(pixels_NXHW), *pixels_NXHW.shape[-2:]
    rows_NH = (shifts_N2[:, :1] + torch.arange(height)).clamp(0, height - 1)
    columns_NW = (shifts_N2[:, 1:] + torch.arange(width)).clamp(0, width - 1)
    flat_NCHW = pixels_NXHW.reshape(count, -1, height, width)
    # Twice as fast as one look-up of both.
    moved_NCHW = flat_NCHW.gather(2, rows_NH[:, None, :, None].expand(flat_NCHW.shape))
    return moved_NCHW.gather(3, columns_NW[:, None, None, :].expand(flat_NCHW.shape)).reshape(pixels_NXHW.shape)
