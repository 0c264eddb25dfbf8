"""May a candidate take over? It is held against the champion on the newest experiences, which neither has learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.trainer.scoring import HeldOutRow, VersionScores, progressive_loss
from shared.domain import Doubles
from shared.evaluation.doubly_robust import (
    LoggedChoices,
    doubly_robust,
    effective_sample_size,
    importance_weights,
    one_sided_bounds,
    supported,
)
from shared.evaluation.evaluation import LEAST_SAMPLE_SIZE, MOST_UNSUPPORTED

# Of the reward's range.
TOLERANCE: Final = 0.05
# Squared, of the reward's range: two versions that both expect within a hundredth of it are alike.
NEGLIGIBLE_LOSS: Final = 1e-4

Finding = Literal["passed", "failed", "insufficient_evidence"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate takes over, what the evaluation found, and its figures, in units of the reward's range."""

    takes_over: bool
    finding: Finding
    figures: dict[str, float]

    @property
    def detail(self) -> str:
        """One line for people."""
        return f"{self.finding}; " + ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())


def judge(candidate: VersionScores, champion: VersionScores, rows: Sequence[HeldOutRow]) -> Verdict:
    """By the paired doubly robust difference; without evidence either way, by the progressive loss.

    Both versions' heads rest on older experiences than these rows; rows whose action was not drawn from their logged
    distribution count in the loss alone.
    """
    losses = progressive_loss(candidate, rows), progressive_loss(champion, rows)
    drawn = np.array([row.experience.row.probability is not None for row in rows])
    logged = _logged(rows, candidate.probabilities.shape[1]).where(drawn)
    finding, figures = _compare(_of(candidate, drawn), _of(champion, drawn), logged)
    figures |= {"held_out": float(len(rows)), "loss": losses[0], "champion_loss": losses[1]}
    no_worse = losses[0] <= losses[1] + NEGLIGIBLE_LOSS
    takes_over = finding == "passed" or (finding == "insufficient_evidence" and no_worse)
    return Verdict(takes_over, finding, figures)


def judge_by_agreement(candidate: VersionScores, champion: VersionScores, rows: Sequence[HeldOutRow]) -> Verdict:
    """By how often the best of what each expects is the action that was taken: what an apprentice is to learn.

    Row by row, by the bounds and the tolerance of the gate: one row of a few more or less says nothing.
    """
    ours_N, theirs_N = _agreement(candidate, rows), _agreement(champion, rows)
    difference = one_sided_bounds(ours_N - theirs_N)
    figures = {
        "held_out": float(len(rows)),
        "agreement": float(ours_N.mean()),
        "champion_agreement": float(theirs_N.mean()),
        "difference": difference.mean,
    }
    if difference.upper < 0:
        return Verdict(False, "failed", figures)
    passed = difference.lower > -TOLERANCE and len(rows) >= LEAST_SAMPLE_SIZE
    return Verdict(difference.mean > -TOLERANCE, "passed" if passed else "insufficient_evidence", figures)


def judge_by_temporal_difference(
    candidate: VersionScores,
    champion: VersionScores,
    rows: Sequence[HeldOutRow],
    targets_N: Doubles,
    zero: float,
    discount: float,
) -> Verdict:
    """By the squared temporal difference of what both expect of the actions taken, row by row.

    What a version is worth along episodes does not show in the reward of one decision, so that the doubly robust
    difference of immediate rewards would turn down who gives up a little now for more later. Both are held against the
    same targets, r + γ max Q(s′, ·) by the candidate, which has looked further ahead: each against its own
    would favour a version that expects nothing anywhere, and meets that. A candidate whose targets lie further from 0
    on average than rewards of this size can add up to has diverged, however well it meets them.

    Args:
        targets_N: standardised; `zero` is a standardised reward of 0.
    """
    errors_N = [_squared_errors(scores, rows, targets_N) for scores in (candidate, champion)]
    difference = one_sided_bounds(errors_N[1] - errors_N[0])
    rewards_N = np.array([row.reward for row in rows])
    value, most = float(np.abs(targets_N - zero).mean()), float(np.abs(rewards_N - zero).max()) / (1 - discount)
    figures = {"held_out": float(len(rows)), "value": value, "difference": difference.mean}
    figures |= {"loss": float(errors_N[0].mean()), "champion_loss": float(errors_N[1].mean())}
    if value > (1 + TOLERANCE) * most or difference.upper < 0:
        return Verdict(False, "failed", figures)
    finding: Finding = "passed" if difference.lower > 0 else "insufficient_evidence"
    return Verdict(difference.mean >= 0, finding, figures)


def _agreement(scores: VersionScores, rows: Sequence[HeldOutRow]) -> Doubles:
    """[N]: 1 where it would have done the same."""
    best = []
    for row, expected in zip(rows, scores.expected_rewards, strict=True):
        allowed = expected[: len(row.actions)].copy()
        allowed[list(row.excluded)] = -np.inf
        best.append(int(np.argmax(allowed)))
    return np.array([float(one == row.taken) for one, row in zip(best, rows, strict=True)])


def _squared_errors(scores: VersionScores, rows: Sequence[HeldOutRow], targets_N: Doubles) -> Doubles:
    taken_N1 = np.array([row.taken for row in rows])[:, None]
    errors_N: Doubles = (np.take_along_axis(scores.expected_rewards, taken_N1, axis=1)[:, 0] - targets_N) ** 2
    return errors_N


def _compare(
    candidate: VersionScores, champion: VersionScores, logged: LoggedChoices
) -> tuple[Finding, dict[str, float]]:
    fits = supported(logged, candidate.probabilities) & supported(logged, champion.probabilities)
    unsupported = 1.0 - float(fits.mean()) if len(fits) else 0.0
    candidate, champion, logged = _of(candidate, fits), _of(champion, fits), logged.where(fits)
    # One model of the rewards for both, so that what it gets wrong cancels out in the difference.
    estimates = candidate.expected_rewards
    difference = one_sided_bounds(
        doubly_robust(logged, candidate.probabilities, estimates)
        - doubly_robust(logged, champion.probabilities, estimates)
    )
    sample_size = effective_sample_size(importance_weights(logged, candidate.probabilities))
    figures = {"effective_sample_size": sample_size, "unsupported": unsupported, "difference": difference.mean}
    if len(logged.rewards) > 1:
        figures |= {"difference_lower": difference.lower, "difference_upper": difference.upper}
    if unsupported > MOST_UNSUPPORTED:
        return "insufficient_evidence", figures
    if difference.lower > -TOLERANCE and sample_size >= LEAST_SAMPLE_SIZE:
        return "passed", figures
    return "failed" if difference.upper < 0 else "insufficient_evidence", figures


def _of(scores: VersionScores, rows: NDArray[np.bool_]) -> VersionScores:
    return VersionScores(scores.expected_rewards[rows], scores.probabilities[rows])


def _logged(rows: Sequence[HeldOutRow], width: int) -> LoggedChoices:
    probabilities = np.zeros((len(rows), width))
    for index, row in enumerate(rows):
        probabilities[index, : len(row.probabilities)] = row.probabilities
    return LoggedChoices(
        np.array([row.taken for row in rows], np.int64), probabilities, np.array([row.reward for row in rows])
    )
