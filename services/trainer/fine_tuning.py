"""Fine-tunes the networks on replayed experiences: minibatches, a cosine schedule, and the pull of L2-SP.

Shapes: B rows of a minibatch, K slots (one an action, or one that all actions share).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Generator, Tensor

from services.trainer.augmentation import draw_shifts, drop_features, drop_modalities, shift_images
from services.trainer.examples import Examples
from services.trainer.networks import Networks, shrink_and_perturb
from services.trainer.objectives import Minibatch, objective_of
from services.trainer.process_group import ALONE, Rank
from services.trainer.stopping import EarlyStopping, held_out
from shared.functional.adaptation import adapter_loss
from shared.functional.regularization import l2_sp_penalty
from shared.functional.schedules import cosine_annealing
from shared.loop_settings import LearningSettings
from shared.networks.batches import Bags, Batch, collate, collate_bags
from shared.networks.placement import CPU
from shared.registry.manifest import Architecture

BATCH: Final = 64
LOSS_WINDOW: Final = 20
EPOCHS: Final = 50
LEAST_STEPS: Final = 100
# Experiences whose principal components the views are projected on: the newest.
VIEWED: Final = 2048
# Share of the learning rate. Attention reads all numbers of all embeddings, so that its logits move by the sum of as
# many steps: at the full rate it soon looks at one modality alone, and never learns what two say together.
ATTENTION_SHARE: Final = 0.02


class DivergedError(RuntimeError):
    """A loss or a weight is not finite: nothing of the run may be kept."""


@dataclass(frozen=True, slots=True)
class FineTuned:
    """Networks that have learned, the mean squared error of the last steps, and how many steps there were.

    `distance` is the Euclidean one of all weights from where L2-SP pulls them; `adapter_norm` that of the adapters from
    changing nothing.
    """

    networks: Networks
    loss: float
    steps: int
    distance: float
    adapter_norm: float


# Called after every step, and while there is none: steps done, steps in all, and the loss, None before the first.
Report = Callable[[int, int, float | None], None]
FineTune = Callable[[Networks, Examples, LearningSettings, int, Report], FineTuned]


def fine_tune(
    champion: Networks,
    examples: Examples,
    learning: LearningSettings,
    seed: int,
    report: Report,
    rank: Rank = ALONE,
) -> FineTuned:
    """Learns from the champion's weights on; the same champion, examples, settings and seed give the same weights.

    Where several ranks call it alike, they learn together and all return the same.

    Raises:
        DivergedError: the loss or a weight went to infinity or is not a number.
    """
    networks = _started(champion, examples, seed).to(rank.device)
    champion = copy.deepcopy(champion).frozen().to(rank.device)
    parameters, pretrained = list(networks.parameters()), list(champion.parameters())
    optimizer = torch.optim.AdamW(_groups(networks), weight_decay=0.0, fused=True)
    generator = Generator().manual_seed(seed)
    estimate, objective = rank.learner(networks), objective_of(learning, networks, champion)
    losses: list[float] = []
    examples, others = held_out(examples, learning)
    stopping = EarlyStopping(networks, others, objective, learning.patience)
    steps = steps_for(len(examples), learning.max_steps)
    for step, chosen in enumerate(_minibatches(len(examples), steps, generator)):
        rate = cosine_annealing(step, steps, learning.learning_rate, 0.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        mine, share = rank.rows(len(chosen)), rank.share(len(chosen))
        values = estimate(*_varied(networks.architecture, examples, chosen, mine, generator))
        # Objectives are a few small sums, with what does not come from the networks.
        total, error = objective(Minibatch(examples, chosen[mine], values.on_cpu()))
        task_loss = (share * total).to(rank.device)
        adapted = adapter_loss(task_loss, networks.encoder.adapters.parameters(), learning.adapter_beta)
        loss = adapted + l2_sp_penalty(parameters, pretrained, learning.l2_sp)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch has no type here
        optimizer.step()
        losses.append(_finite(rank.mean(share * error)))
        report(step + 1, steps, losses[-1])
        if stopping.is_over(step + 1, steps, rank):
            break
    stopping.restore()
    return _finished(networks.to(CPU), champion.to(CPU), examples, losses)


def _started(champion: Networks, examples: Examples, seed: int) -> Networks:
    """Networks that are about to learn, with views of the newest examples."""
    networks = shrink_and_perturb(champion, seed)
    newest = [one.features for one in examples.experiences[-VIEWED:]]
    networks.encoder.fit_views(collate(newest, list(networks.architecture.modalities)))
    return networks


def _finished(networks: Networks, champion: Networks, examples: Examples, losses: Sequence[float]) -> FineTuned:
    """Networks that have learned, ready to serve."""
    frozen = networks.frozen()
    if not all(bool(parameter.isfinite().all()) for parameter in frozen.parameters()):
        raise DivergedError("a weight is not finite")
    _settle_unseen(frozen, examples)
    _settle_unseen_buckets(frozen, champion, examples)
    recent = losses[-LOSS_WINDOW:]
    distance = l2_sp_penalty(frozen.parameters(), champion.parameters(), 1.0).sqrt()
    adapter_norm = adapter_loss(torch.zeros(()), frozen.encoder.adapters.parameters(), 1.0).sqrt()
    return FineTuned(frozen, sum(recent) / len(recent), len(losses), float(distance), float(adapter_norm))


def _settle_unseen(networks: Networks, examples: Examples) -> None:
    """Actions without an example begin at the mean of the others: what they have is random, not learned."""
    seen_K = torch.zeros(networks.q_network.mean.out_features, dtype=torch.bool).index_fill(0, examples.slots, True)
    with torch.no_grad():
        layers = networks.q_network.mean, networks.q_network.log_variance, networks.q_network.policy
        for layer in filter(None, layers):
            layer.weight[~seen_K] = layer.weight[seen_K].mean(0)
            layer.bias[~seen_K] = layer.bias[seen_K].mean()


def _settle_unseen_buckets(networks: Networks, champion: Networks, examples: Examples) -> None:
    """What no example showed of an action, an identity above all, is what the champion knows of it: at first nothing.

    It would else be random, and as loud as what was learned.
    """
    actions, before = networks.encoder.actions, champion.encoder.actions
    if actions is None or before is None or networks.architecture.adapter_rank:
        return
    seen = torch.from_numpy(np.unique(collate_bags([one.action for one in examples.experiences]).buckets.numpy()))
    weight, known = actions.buckets.weight, before.buckets.weight * champion.q_network.trained
    with torch.no_grad():
        weight.copy_(known.index_copy(0, seen, weight[seen]))


def steps_for(count: int, most: int) -> int:
    """Gradient steps for so many examples: about so many looks at each, since more on few would learn them by heart."""
    return min(most, max(LEAST_STEPS, EPOCHS * count // BATCH))


def _groups(networks: Networks) -> list[dict[str, object]]:
    """Parameters by their share of the learning rate."""
    attention = [parameter for name, parameter in networks.fusion.named_parameters() if name == "strategy.w_a"]
    slow = {id(parameter) for parameter in attention}
    rest = [parameter for parameter in networks.parameters() if id(parameter) not in slow]
    shares = ((rest, 1.0), (attention, ATTENTION_SHARE))
    return [{"params": parameters, "share": share} for parameters, share in shares if parameters]


def _varied(
    architecture: Architecture, examples: Examples, chosen_B: Tensor, mine: slice, generator: Generator
) -> tuple[Batch, Bags | None]:
    """A rank's own rows of a minibatch, varied at random; what is drawn is the same in all ranks."""
    names = list(architecture.modalities)
    taken = [examples.experiences[index] for index in chosen_B.tolist()]
    rows = drop_modalities([one.features for one in taken], names, generator)
    shifts_BM2 = draw_shifts(len(rows), len(names), generator)
    batch = shift_images(collate(rows[mine], names), list(architecture.read.values()), shifts_BM2[mine])
    if not architecture.action_features:
        return batch, None
    return batch, collate_bags(drop_features([one.action for one in taken], generator)[mine])


def _minibatches(count: int, steps: int, generator: Generator) -> Iterator[Tensor]:
    """Indices [B] of each step: every row once before any row twice."""
    size = min(BATCH, count)
    order, start = torch.empty(0, dtype=torch.int64), 0
    for _ in range(steps):
        if start + size > len(order):
            order, start = torch.randperm(count, generator=generator), 0
        yield order[start : start + size]
        start += size


def _finite(loss: Tensor) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise DivergedError(f"the loss is {value}")
    return value
