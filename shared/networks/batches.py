"""Rows of features as tensors: what encoders take. Collating is cheap, so rows can be kept and batched many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from shared.networks.placement import moved
from shared.networks.preparation import Row
from shared.networks.preprocessing import Bag, Features


@dataclass(frozen=True, slots=True)
class Bags:
    """N bags one after another: `buckets` int64 [Σn], `weights` float32 [Σn], `offsets` int64 [N] where each begins."""

    buckets: Tensor
    weights: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> Self:
        """These, on a device."""
        return type(self)(moved(self.buckets, device), moved(self.weights, device), moved(self.offsets, device))

    def split(self, first: int) -> tuple[Self, Self]:
        """The first so many of every bag, or as many as it has, and the rest, which may be empty."""
        sizes_N = torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.buckets)]))
        firsts_N = sizes_N.clamp(max=first)
        before_N = firsts_N.cumsum(0) - firsts_N
        place = torch.arange(len(self.buckets), device=self.buckets.device)
        is_first = place < (self.offsets + firsts_N).repeat_interleave(sizes_N)
        return (
            type(self)(self.buckets[is_first], self.weights[is_first], before_N),
            type(self)(self.buckets[~is_first], self.weights[~is_first], self.offsets - before_N),
        )


@dataclass(frozen=True, slots=True)
class ModalityBatch:
    """Features of one modality in the rows that have it: `rows` int64 [N], `inputs` bags of N or a tensor [N, …]."""

    rows: Tensor
    inputs: Bags | Tensor

    def to(self, device: torch.device) -> Self:
        """These, on a device."""
        inputs = self.inputs.to(device) if isinstance(self.inputs, Bags) else moved(self.inputs, device)
        return type(self)(moved(self.rows, device), inputs)


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows; one entry a modality of the model version, in its order, None where no row has it."""

    size: int
    modalities: Sequence[ModalityBatch | None]

    def to(self, device: torch.device) -> Self:
        """These, on a device."""
        return type(self)(self.size, [None if one is None else one.to(device) for one in self.modalities])


def collate(rows: Sequence[Row], modalities: Sequence[str]) -> Batch:
    """Stacks rows; `modalities` names those of the model version in order."""
    return Batch(len(rows), [_collate_modality(rows, name) for name in modalities])


def collate_bags(bags: Sequence[Bag]) -> Bags:
    """Strings bags together; at least one."""
    sizes = np.fromiter((len(bag.buckets) for bag in bags), np.int64, len(bags))
    return Bags(
        torch.from_numpy(np.concatenate([bag.buckets for bag in bags])),
        torch.from_numpy(np.concatenate([bag.weights for bag in bags])),
        torch.from_numpy(np.cumsum(sizes) - sizes),
    )


def _collate_modality(rows: Sequence[Row], name: str) -> ModalityBatch | None:
    present = [index for index, row in enumerate(rows) if name in row]
    if not present:
        return None
    return ModalityBatch(torch.tensor(present), _collate_features([rows[index][name] for index in present]))


def _collate_features(features: Sequence[Features]) -> Bags | Tensor:
    bags = [one for one in features if isinstance(one, Bag)]
    if bags:
        return collate_bags(bags)
    return torch.from_numpy(np.stack([one for one in features if not isinstance(one, Bag)]))
