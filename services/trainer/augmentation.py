"""Random changes of minibatches that leave their meaning alone, so that few experiences teach more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Generator, Tensor

from shared.loop_settings import ModalitySettings
from shared.networks.batches import Batch, ModalityBatch
from shared.networks.preparation import Row

DROPPED: Final = 0.1
SHIFT_PIXELS: Final = 2
PICTURES: Final = frozenset({"image", "video"})


def drop_modalities(rows: Sequence[Row], generator: Generator) -> list[Row]:
    """Leaves each modality out at random, never a row's last: one that goes missing later does no harm."""
    widest = max(map(len, rows))
    stays_NM = torch.rand(len(rows), widest, generator=generator) >= DROPPED
    return [_keep(row, stays_M) if len(row) > 1 else row for row, stays_M in zip(rows, stays_NM.tolist(), strict=True)]


def shift_images(batch: Batch, modalities: Sequence[ModalitySettings], generator: Generator) -> Batch:
    """Moves every picture, and a clip's frames alike, by up to two pixels a side, the edge continued."""
    shifted = [
        _shift_modality(one, generator) if one is not None and modality.kind in PICTURES else one
        for one, modality in zip(batch.modalities, modalities, strict=True)
    ]
    return replace(batch, modalities=shifted)


def _keep(row: Row, stays: Sequence[bool]) -> Row:
    kept = {name: value for (name, value), stay in zip(row.items(), stays, strict=False) if stay}
    return kept or row


def _shift_modality(modality: ModalityBatch, generator: Generator) -> ModalityBatch:
    assert isinstance(modality.inputs, Tensor)
    return replace(modality, inputs=_shift(modality.inputs, generator))


def _shift(pixels_NXHW: Tensor, generator: Generator) -> Tensor:
    """[N, …, H, W]: a row is moved as a whole, whatever stands between."""
    count, height, width = len(pixels_NXHW), *pixels_NXHW.shape[-2:]
    down_N1, right_N1 = torch.randint(-SHIFT_PIXELS, SHIFT_PIXELS + 1, (2, count, 1), generator=generator)
    rows_NH1 = (down_N1 + torch.arange(height)).clamp(0, height - 1)[:, :, None]
    columns_N1W = (right_N1 + torch.arange(width)).clamp(0, width - 1)[:, None, :]
    flat_NCHW = pixels_NXHW.reshape(count, -1, height, width)
    shifted_NHWC = flat_NCHW[torch.arange(count)[:, None, None], :, rows_NH1, columns_N1W]
    return shifted_NHWC.permute(0, 3, 1, 2).reshape(pixels_NXHW.shape)
