"""The networks of one model version as they learn: from features to estimates, all three parts together.

Shapes: N rows, S state, K slots (one an action, or one that all actions share).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor, nn

from shared.networks.batches import Bags, Batch
from shared.networks.multimodal_encoder import MultimodalEncoder
from shared.networks.parts import build_encoder, build_fusion, build_q_network
from shared.networks.q_network import QNetwork, QValues
from shared.registry.manifest import Architecture

# Share of the learned weights that a fine-tune starts from; the rest is random.
SHRINK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Networks:
    """Encoder, fusion and Q-network of one version."""

    architecture: Architecture
    encoder: MultimodalEncoder
    fusion: nn.Module
    q_network: QNetwork

    @classmethod
    def seeded(cls, architecture: Architecture, seed: int) -> Self:
        """With random weights that depend on the seed alone; estimates are zero until they have learned."""
        encoder, fusion = build_encoder(architecture, seed), build_fusion(architecture, seed)
        return cls(architecture, encoder, fusion, build_q_network(architecture, seed))

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.fusion, self.q_network

    def parameters(self) -> Iterator[nn.Parameter]:
        """In an order that depends on the architecture alone."""
        for module in self.modules:
            yield from module.parameters()

    @property
    def device(self) -> torch.device:
        """Where all of them are."""
        return next(self.parameters()).device

    def to(self, device: torch.device) -> Self:
        """These, moved to a device."""
        for module in self.modules:
            module.to(device)
        return self

    def learning(self) -> Self:
        """A copy that is ready to learn: all of it, or, where it has adapters, those and the Q-network."""
        copied = copy.deepcopy(self)
        adapted = bool(self.architecture.adapter_rank)
        for module in copied.modules:
            module.train().requires_grad_(not adapted or module is copied.q_network)
        copied.encoder.adapters.requires_grad_(True)
        return copied

    def frozen(self) -> Self:
        """These, ready to serve."""
        for module in self.modules:
            module.eval().requires_grad_(False)
        return self

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Lets networks that learn be asked in between, as if they served."""
        for module in self.modules:
            module.eval()
        yield
        for module in self.modules:
            module.train()

    def states(self, batch: Batch) -> Tensor:
        """H [N, S], where the networks are."""
        states_NS: Tensor = self.fusion(*self.encoder(batch.to(self.device)))
        return states_NS

    def estimates(self, batch: Batch, actions: Bags | None) -> QValues:
        """Of each row; with its action's bag where the architecture scores actions by their features, else None."""
        inputs_NI = self.states(batch)
        if actions is not None:
            inputs_NI = torch.cat([inputs_NI, self.encoder.encode_actions(actions.to(self.device))], dim=1)
        values: QValues = self.q_network(inputs_NI)
        return values


def warm_start(champion: Networks, architecture: Architecture, seed: int) -> Networks:
    """The champion's weights as far as they mean the same under a changed architecture; the rest is seeded."""
    if champion.architecture == architecture:
        return champion
    started = Networks.seeded(architecture, seed)
    _keep_encoders(champion, started)
    if champion.architecture.modalities.keys() == architecture.modalities.keys():
        _keep_what_fits(champion.fusion, started.fusion)
    _keep_what_fits(champion.q_network.body, started.q_network.body)
    _keep_slots(champion, started)
    return started


def shrink_and_perturb(networks: Networks, seed: int) -> Networks:
    """A copy whose weights that learn are part of the way back to random ones.

    What the first few experiences taught would else stand in the way of what more of them show (Ash and Adams 2020,
    On Warm-Starting Neural Network Training).
    """
    perturbed = Networks.seeded(networks.architecture, seed).learning()
    with torch.no_grad():
        for parameter, learned in zip(perturbed.parameters(), networks.parameters(), strict=True):
            parameter.lerp_(learned, SHRINK if parameter.requires_grad else 1.0)
    return perturbed


def _keep_encoders(old: Networks, new: Networks) -> None:
    kinds, trunks = old.architecture.modalities, old.architecture.trunks
    before = dict(zip(kinds, old.encoder.modalities, strict=True))
    adapters = dict(zip(kinds, old.encoder.adapters, strict=True))
    of_new = zip(new.architecture.modalities.items(), new.encoder.modalities, new.encoder.adapters, strict=True)
    for (name, modality), encoder, adapter in of_new:
        if kinds.get(name) == modality and trunks.get(name) == new.architecture.trunks.get(name):
            _keep_what_fits(before[name], encoder)
            _keep_what_fits(adapters[name], adapter)
    if old.encoder.actions is not None and new.encoder.actions is not None:
        _keep_what_fits(old.encoder.actions, new.encoder.actions)


def _keep_slots(old: Networks, new: Networks) -> None:
    if old.architecture.action_features or new.architecture.action_features:
        shared = [(0, 0)] if old.architecture.action_features and new.architecture.action_features else []
    else:
        before = {action_id: slot for slot, action_id in enumerate(old.architecture.action_ids)}
        ids = enumerate(new.architecture.action_ids)
        shared = [(before[action_id], slot) for slot, action_id in ids if action_id in before]
    heads = [(old.q_network.mean, new.q_network.mean), (old.q_network.log_variance, new.q_network.log_variance)]
    if old.q_network.policy is not None and new.q_network.policy is not None:
        heads.append((old.q_network.policy, new.q_network.policy))
    with torch.no_grad():
        if shared:
            # Beside learned estimates, one that is random would be taken at its word.
            new.q_network.mean.weight.zero_()
            new.q_network.mean.bias.zero_()
        for source, target in heads:
            for old_slot, new_slot in shared:
                target.weight[new_slot] = source.weight[old_slot]
                target.bias[new_slot] = source.bias[old_slot]


def _keep_what_fits(old: nn.Module, new: nn.Module) -> None:
    """Tensors of the same name and shape; another strategy's have other names."""
    tensors, wanted = old.state_dict(), new.state_dict()
    fitting = {name: tensors[name] for name in wanted if name in tensors and tensors[name].shape == wanted[name].shape}
    new.load_state_dict(fitting, strict=False)
