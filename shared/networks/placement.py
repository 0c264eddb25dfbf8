"""Where a model service computes, and how exactly."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from shared.settings import DeviceName, ModelServiceSettings

CPU: Final = torch.device("cpu")


class NoDeviceError(RuntimeError):
    """A device is asked for that is not here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, and the precision of networks' products there: float32, or bfloat16 by autocast."""

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32

    @classmethod
    def of(cls, settings: ModelServiceSettings) -> Self:
        """As the settings say.

        Raises:
            NoDeviceError: they ask for a GPU, and there is none.
        """
        device = device_of(settings.model_device)
        if device is None:
            raise NoDeviceError(
                "REWARDLOOP_MODEL_DEVICE asks for a GPU, and torch finds none here: set it to auto or cpu"
            )
        if device != CPU:
            # What is logged replays on a CPU: convolutions round as products do.
            torch.backends.cudnn.allow_tf32 = False
        return cls(device, torch.bfloat16 if settings.model_dtype == "bfloat16" else torch.float32)

    def arithmetic(self) -> AbstractContextManager[None]:
        """In which networks are to be called."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def send(self, tensor: Tensor) -> Tensor:
        """To the device."""
        return moved(tensor, self.device)

    def fetch(self, tensor: Tensor) -> Tensor:
        """Back to the CPU, numbers as float32."""
        return tensor.float().cpu() if tensor.is_floating_point() else tensor.cpu()


ON_CPU: Final = Placement()


def usable_gpus() -> int:
    """How many torch finds here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_of(name: DeviceName, index: int = 0, count: int = 1) -> torch.device | None:
    """Where one of so many processes computes: each has a GPU of its own, or all share the CPU; None where GPUs are
    asked for and there are fewer."""
    if name != "cpu" and usable_gpus() >= count:
        return torch.device("cuda", index)
    return None if name == "cuda" else CPU


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device: to a GPU from page-locked memory, so that nothing waits for the copy."""
    # What is locked has no part in gradients.
    if device.type == "cuda" and tensor.device == CPU and not tensor.requires_grad:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
