"""The processes that fine-tune together, each on a slice of every minibatch, and the devices that they learn on.

Shapes: B rows of a minibatch.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from services.trainer.networks import Networks
from shared.networks.batches import Bags, Batch
from shared.networks.placement import CPU, device_of, usable_gpus
from shared.networks.q_network import QValues
from shared.settings import DeviceName

# Who waits longer for another process takes it for stuck, and fails.
PATIENCE: Final = timedelta(minutes=5)

Estimate = Callable[[Batch, Bags | None], QValues]


class ProcessesError(RuntimeError):
    """The processes or devices that a fine-tune is to run on are not there, or ended before it did."""


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `count` processes that fine-tune together, and the device that it learns on."""

    index: int = 0
    count: int = 1
    device: torch.device = CPU

    def rows(self, size: int) -> slice:
        """Its own of so many rows of a minibatch: each row is one rank's, and all have as many, give or take one."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)

    def share(self, size: int) -> float:
        """The weight of the mean over its own rows: the mean over ranks is then that over the minibatch."""
        return len(range(size)[self.rows(size)]) * self.count / size

    def mean(self, value: Tensor) -> Tensor:
        """A scalar's mean over all ranks, without gradient."""
        mean = value.detach().to(self.device, copy=True)
        if self.count > 1:
            distributed.all_reduce(mean)
            mean /= self.count
        return mean

    def learner(self, networks: Networks) -> Estimate:
        """What estimates; the gradients that it leads to are means over all ranks."""
        if self.count == 1:
            return networks.estimates
        return DistributedDataParallel(_Learner(networks))


ALONE: Final = Rank()


class _Learner(nn.Module):
    """Networks as the one module that DistributedDataParallel takes."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self._networks = networks
        self._parts = nn.ModuleList(networks.modules)

    def forward(self, batch: Batch, actions: Bags | None) -> QValues:
        return self._networks.estimates(batch, actions)


def settle() -> None:
    """Makes this process one thread whose results are the same each time; before its first use of a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # That would write all memory before its first use, in search of bugs.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # it has no stub


def own_device(name: DeviceName, index: int = 0, count: int = 1) -> torch.device:
    """Where one of so many processes learns.

    Raises:
        ProcessesError: GPUs are asked for, and there are fewer than processes.
    """
    device = device_of(name, index, count)
    if device is None:
        raise ProcessesError(
            f"{count} GPUs are asked for and {usable_gpus()} are here: "
            "change REWARDLOOP_TRAINING_DEVICE or REWARDLOOP_TRAINING_PROCESSES"
        )
    return device


@contextmanager
def joined(meeting: Path, index: int, count: int, device: torch.device) -> Iterator[Rank]:
    """This process as one of several on this machine that meet by a file, which is not there yet."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "gloo" if device == CPU else "nccl",
        init_method=meeting.resolve().as_uri(),
        rank=index,
        world_size=count,
        timeout=PATIENCE,
    )
    yield Rank(index, count, device)
    # Not after an error: the others no longer answer.
    distributed.destroy_process_group()
