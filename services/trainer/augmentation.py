"""Random changes of minibatches that leave their meaning alone, so that few experiences teach more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Generator, Tensor
from torch.nn import functional

from shared.loop_settings import ModalitySettings
from shared.networks.batches import Batch, ModalityBatch
from shared.networks.preparation import Row

DROPPED: Final = 0.1
SHIFT_PIXELS: Final = 2


def drop_modalities(rows: Sequence[Row], generator: Generator) -> list[Row]:
    """Leaves each modality out at random, never a row's last: one that goes missing later does no harm."""
    return [_drop(row, generator) if len(row) > 1 else row for row in rows]


def shift_images(batch: Batch, modalities: Sequence[ModalitySettings], generator: Generator) -> Batch:
    """Moves every picture by up to two pixels a side, its edge continued."""
    shifted = [
        _shift_modality(one, generator) if one is not None and modality.kind == "image" else one
        for one, modality in zip(batch.modalities, modalities, strict=True)
    ]
    return replace(batch, modalities=shifted)


def _drop(row: Row, generator: Generator) -> Row:
    stays = torch.rand(len(row), generator=generator) >= DROPPED
    if not bool(stays.any()):
        return row
    return {name: value for (name, value), kept in zip(row.items(), stays.tolist(), strict=True) if kept}


def _shift_modality(modality: ModalityBatch, generator: Generator) -> ModalityBatch:
    assert isinstance(modality.inputs, Tensor)
    return replace(modality, inputs=_shift(modality.inputs, generator))


def _shift(pixels_NCHW: Tensor, generator: Generator) -> Tensor:
    count, _, height, width = pixels_NCHW.shape
    padded = functional.pad(pixels_NCHW.float(), (SHIFT_PIXELS,) * 4, mode="replicate").to(pixels_NCHW.dtype)
    down_N, right_N = torch.randint(2 * SHIFT_PIXELS + 1, (2, count), generator=generator)
    rows_NH1 = (down_N[:, None] + torch.arange(height))[:, :, None]
    columns_N1W = (right_N[:, None] + torch.arange(width))[:, None, :]
    shifted_NHWC = padded[torch.arange(count)[:, None, None], :, rows_NH1, columns_N1W]
    return shifted_NHWC.permute(0, 3, 1, 2).contiguous()
