"""Two arms of known truth: a simulator of rollouts at the level of rewards."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared.evaluation.arm_comparison import ArmComparison
from shared.evaluation.rollout_verdict import PROMOTION_ALPHA, REWARD_ALPHA

LOOK_EVERY = 25


@dataclass(frozen=True)
class Arms:
    """Bernoulli rewards of both arms; `share` the version's, `steps` where it grows, `cluster` how many decisions a
    subject has, whose own rate lies within `spread` around the arm's; `drift` moves both rates up and down."""

    champion: float
    version: float
    steps: Sequence[float] = (0.1,)
    step_decisions: int = 1000
    cluster: int = 1
    spread: float = 0.0
    drift: Callable[[int], float] = lambda _: 0.0

    def draw(self, seed: int) -> Iterator[tuple[float, bool, float, str | None]]:
        """Reward, arm, the version's share, and the subject, decision by decision."""
        chance = random.Random(seed)
        number = 0
        while True:
            step = min(number // self.step_decisions, len(self.steps) - 1)
            share, place = self.steps[step], chance.random()
            in_version = place < share
            of_subject = chance.uniform(-self.spread, self.spread)
            for _ in range(self.cluster):
                rate = (self.version if in_version else self.champion) + of_subject + self.drift(number)
                subject = None if self.cluster == 1 else f"u{number // self.cluster}"
                yield float(chance.random() < rate), in_version, share, subject
                number += 1


@dataclass(frozen=True)
class Outcome:
    """How it ended, after how many decisions in all and of the version."""

    course: str
    decisions: int
    of_version: int


def roll_out(arms: Arms, seed: int, most: int) -> Outcome:
    """By the controller's rule for rewards."""
    return judge(arms.draw(seed), arms.step_decisions * (len(arms.steps) - 1), most)


def judge(
    rows: Iterable[tuple[float, bool, float] | tuple[float, bool, float, str | None]],
    last: int,
    most: int,
    tolerance: float = 0.05,
    least: int = 200,
) -> Outcome:
    """By the controller's rule for rewards: the guardrail, and the promotion at the last step, which begins after so
    many decisions."""
    comparison = ArmComparison()
    for number, row in enumerate(rows, 1):
        comparison.add(*row)
        if number % LOOK_EVERY == 0:
            found = comparison.difference(PROMOTION_ALPHA, REWARD_ALPHA)
            if found.upper < 0:
                return Outcome("rolled_back", number, found.decisions)
            ready = number >= last and found.decisions >= least
            if ready and found.lower > -tolerance * abs(found.champion_mean):
                return Outcome("promoted", number, found.decisions)
        if number >= most:
            break
    return Outcome("inconclusive", most, comparison.decisions)
