"""Logs of a world whose truth is known: everything statistical is tested on it.

A reward is 1 or 0, and comes as often as the action, the context, the subject and the time have it.

Shapes: L logs, N decisions, A actions, C contexts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.domain import Doubles
from shared.evaluation.doubly_robust import LoggedChoices

Integers = NDArray[np.int64]

SECOND: Final = 1_000_000
# Of a policy that learns: what it explores with, and what it believes at first, counted in draws.
EXPLORED: Final = 0.2
PRIOR_DRAWS: Final = 5.0


@dataclass(frozen=True, slots=True)
class World:
    """What earns how much.

    `rates` are the actions' probabilities of a reward in the first context; in each further one they stand shifted by
    a place. `drift` is added to all of them from the first decision to the last, `spread` is a subject's own standard
    deviation, and feedback comes `delay` seconds later on average.
    """

    rates: Sequence[float]
    contexts: int = 1
    drift: float = 0.0
    subjects: int | None = None
    spread: float = 0.0
    delay: float = 0.0

    @property
    def rates_CA(self) -> Doubles:
        """[contexts, A]: at the start, of a subject like all."""
        return np.stack([np.roll(self.rates, shift) for shift in range(self.contexts)]).astype(float)

    def truth(self, target_CA: Doubles) -> float:
        """What a target earns in the long run, while no rate is cut off at 0 or 1."""
        return float((target_CA * (self.rates_CA + self.drift / 2)).sum(1).mean())


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """What was logged, and what nobody knows of it: each row's true rates."""

    logged: LoggedChoices
    contexts: Integers  # [N]
    subjects: Integers  # [N]
    true_rates: Doubles  # [N, A]
    decided_at: Integers  # [N], microseconds, one a second
    received_at: Integers  # [N]


def simulate(
    world: World,
    count: int,
    generator: np.random.Generator,
    logs: int = 1,
    propensities: Sequence[float] | None = None,
    learns: bool = False,
) -> list[SimulatedLog]:
    """So many logs of so many decisions, by fixed propensities (evenly where there are none), or by a policy that
    learns from its own rewards."""
    shape = logs, count
    contexts_LN = generator.integers(world.contexts, size=shape)
    subjects = world.subjects or count
    subjects_LN = generator.integers(subjects, size=shape) if world.subjects else np.tile(np.arange(count), (logs, 1))
    own_LN = np.take_along_axis(generator.normal(scale=world.spread, size=(logs, subjects)), subjects_LN, axis=1)
    drift_N = world.drift * np.arange(count) / max(1, count - 1)
    rates_LNA = np.clip(world.rates_CA[contexts_LN] + (drift_N + own_LN)[..., None], 0.0, 1.0)
    luck_LN, draws_LN = generator.random((2, *shape))
    if learns:
        probabilities_LNA, taken_LN = _learned_draws(contexts_LN, rates_LNA, luck_LN, draws_LN)
    else:
        actions = len(world.rates)
        fixed = np.full(actions, 1 / actions) if propensities is None else np.asarray(propensities, float)
        probabilities_LNA = np.broadcast_to(fixed, rates_LNA.shape)
        taken_LN = np.searchsorted(fixed.cumsum()[:-1], draws_LN, side="right")
    rewards_LN = (luck_LN < np.take_along_axis(rates_LNA, taken_LN[..., None], axis=2)[..., 0]).astype(float)
    decided_N = SECOND * np.arange(1, count + 1)
    received_LN = decided_N + (SECOND * world.delay * generator.exponential(size=shape)).astype(np.int64)
    return [
        SimulatedLog(LoggedChoices(taken, probabilities, rewards), contexts, own, rates, decided_N, received)
        for taken, probabilities, rewards, contexts, own, rates, received in zip(
            taken_LN, probabilities_LNA, rewards_LN, contexts_LN, subjects_LN, rates_LNA, received_LN, strict=True
        )
    ]


def _learned_draws(
    contexts_LN: Integers, rates_LNA: Doubles, luck_LN: Doubles, draws_LN: Doubles
) -> tuple[Doubles, Integers]:
    """ε-greedy policies' distributions and draws; each sees its rewards before it draws again."""
    logs, count, actions = rates_LNA.shape
    every = np.arange(logs)
    probabilities_LNA = np.full((logs, count, actions), EXPLORED / actions)
    taken_LN = np.zeros((logs, count), np.int64)
    draws_LCA = np.full((logs, int(contexts_LN.max(initial=0)) + 1, actions), PRIOR_DRAWS)
    sums_LCA = 0.5 * draws_LCA
    for row in range(count):
        contexts = contexts_LN[:, row]
        best_L = np.argmax(sums_LCA[every, contexts] / draws_LCA[every, contexts], axis=1)
        probabilities_LNA[every, row, best_L] += 1 - EXPLORED
        cumulated_LA = probabilities_LNA[:, row].cumsum(1)[:, :-1]
        taken_L = taken_LN[:, row] = (draws_LN[:, row, None] >= cumulated_LA).sum(1)
        sums_LCA[every, contexts, taken_L] += luck_LN[:, row] < rates_LNA[every, row, taken_L]
        draws_LCA[every, contexts, taken_L] += 1
    return probabilities_LNA, taken_LN


@dataclass(frozen=True, slots=True)
class SimulatedRollouts:
    """L rollouts of N decisions each: what was earned, whose decision it was, and the version's share."""

    rewards_LN: Doubles
    in_version_LN: NDArray[np.bool_]
    share_N: Doubles

    def rows(self, rollout: int) -> Iterator[tuple[float, bool, float]]:
        """Reward, arm and share, decision by decision."""
        columns = self.rewards_LN[rollout], self.in_version_LN[rollout], self.share_N
        return zip(*(column.tolist() for column in columns), strict=True)


def simulate_rollouts(
    world: World,
    count: int,
    generator: np.random.Generator,
    rollouts: int,
    steps: Sequence[float],
    step_decisions: int,
    lift: float = 0.0,
) -> SimulatedRollouts:
    """So many rollouts of versions that go on learning: both arms are ε-greedy policies that start from beliefs of
    their own, and each learns from every reward, whichever arm decided, as serving versions do. What the version
    chooses earns `1 + lift` times as often.

    Subjects and delays have no part in it.
    """
    actions, every, both = len(world.rates), np.arange(rollouts), np.arange(2)
    share_N = np.array([steps[min(number // step_decisions, len(steps) - 1)] for number in range(count)])
    in_version_LN = generator.random((rollouts, count)) < share_N
    rewards_LN = np.zeros((rollouts, count))
    shape = rollouts, 2, world.contexts, actions
    draws = np.full(shape, PRIOR_DRAWS)
    sums = PRIOR_DRAWS * generator.random(shape)
    for number in range(count):
        context_L = generator.integers(world.contexts, size=rollouts)
        explored_L, other_L, luck_L = generator.random((3, rollouts))
        arm_L = in_version_LN[:, number].astype(int)
        best_L = np.argmax(sums[every, arm_L, context_L] / draws[every, arm_L, context_L], axis=1)
        taken_L = np.where(explored_L < EXPLORED, (other_L * actions).astype(int), best_L)
        rate_L = world.rates_CA[context_L, taken_L] + world.drift * number / max(1, count - 1)
        reward_L = luck_L < rate_L * (1 + lift * arm_L)
        rewards_LN[:, number] = reward_L
        learned = every[:, None], both[None, :], context_L[:, None], taken_L[:, None]
        sums[learned] += reward_L[:, None]
        draws[learned] += 1
    return SimulatedRollouts(rewards_LN, in_version_LN, share_N)
