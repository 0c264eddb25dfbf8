"""The three parts of a model version: how each is built from an architecture, and its file of weights (safetensors)."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from shared.networks.fusion import StateFusion
from shared.networks.multimodal_encoder import MultimodalEncoder
from shared.networks.online_head import HeadStatistics
from shared.networks.q_network import QNetwork
from shared.registry.manifest import Architecture

Module = TypeVar("Module", bound=nn.Module)


class WeightsError(ValueError):
    """Weights that must not serve: not those of the architecture, or not finite; the text says which."""


def build_encoder(architecture: Architecture, seed: int = 0) -> MultimodalEncoder:
    """With random weights that depend on the seed alone."""
    return _seeded(seed, lambda: MultimodalEncoder(architecture))


def build_fusion(architecture: Architecture, seed: int = 0) -> StateFusion:
    """With random weights that depend on the seed alone."""
    return _seeded(seed, lambda: StateFusion(architecture))


def build_q_network(architecture: Architecture, seed: int = 0) -> QNetwork:
    """With random weights that depend on the seed alone; every estimate is zero until it has been trained."""
    return _seeded(seed, lambda: QNetwork(architecture))


def empty_statistics(architecture: Architecture, half_life: int = 0) -> HeadStatistics:
    """Head statistics of no experience: a slot an action, or one where candidates are scored over their features.

    `half_life` in microseconds, 0 to forget nothing.
    """
    slots = 1 if architecture.action_features else len(architecture.action_ids)
    return HeadStatistics.empty(slots, architecture.head_width, half_life)


def save_module(module: nn.Module) -> bytes:
    """Weights of an encoder or a fusion."""
    return _save(module.state_dict())


def load_module(module: Module, data: bytes) -> Module:
    """The module with the weights of a file, ready to serve.

    Raises:
        WeightsError: the file is damaged, of another architecture, or holds a number that is not finite.
    """
    module.load_state_dict(_load(data, module.state_dict()))
    return module.eval().requires_grad_(False)


def save_policy(q_network: QNetwork, statistics: HeadStatistics) -> bytes:
    """Weights of a Q-network and the statistics of its head."""
    return _save(q_network.state_dict(prefix="q_network.") | _prefixed(statistics))


def load_policy(architecture: Architecture, data: bytes) -> tuple[QNetwork, HeadStatistics]:
    """A Q-network, ready to serve, and the statistics of its head.

    Raises:
        WeightsError: the file is damaged, of another architecture, or holds a number that is not finite.
    """
    q_network, empty = build_q_network(architecture), _prefixed(empty_statistics(architecture))
    # Heads that were written before there was forgetting forget nothing.
    defaults = {name: empty[name] for name in ("head.newest_at", "head.half_life")}
    tensors = _load(data, q_network.state_dict(prefix="q_network.") | empty, defaults)
    q_network.load_state_dict(_without_prefix(tensors, "q_network."))
    statistics = HeadStatistics.from_tensors(_without_prefix(tensors, "head."))
    return q_network.eval().requires_grad_(False), statistics


def _seeded(seed: int, construct: Callable[[], Module]) -> Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return construct()


def _prefixed(statistics: HeadStatistics) -> dict[str, Tensor]:
    return {f"head.{name}": tensor for name, tensor in statistics.tensors().items()}


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _load(
    data: bytes, expected: Mapping[str, Tensor], defaults: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    try:
        tensors = {**(defaults or {}), **load(data)}
    except SafetensorError as error:
        raise WeightsError("not a safetensors file") from error
    if tensors.keys() != expected.keys():
        raise WeightsError(f"tensors that do not belong or are missing: {sorted(tensors.keys() ^ expected.keys())[:5]}")
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise WeightsError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not {list(expected[name].shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{name} holds a number that is not finite")
    return tensors
