"""What a version earns beside the champion: concurrent decisions, drawn to one of two arms by known shares.

Each decision adds (a - π)(r - m): a is 1 in the version's arm and 0 in the champion's, π the version's share at that
time, m what was earned so far. Whatever the rewards do over time, this has mean π(1 - π)·(difference): the strata of
steps add up by what each of them tells. Decisions of one subject or episode are one cluster, whose terms are added up
before they are squared.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from shared.evaluation.confidence_sequences import deviation

# The running mean follows a drift as fast as so many decisions.
MEMORY: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean reward of the version less that of the champion, with bounds that hold at every look, each by its α."""

    decisions: int
    champion_decisions: int
    mean: float
    champion_mean: float
    difference: float
    lower: float
    upper: float


@dataclass(slots=True)
class ArmComparison:
    """Sums over the matured decisions of both arms."""

    decisions: int = 0
    champion_decisions: int = 0
    _sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _squares: float = 0.0
    _cubes: float = 0.0
    _centre: float = 0.0
    _total: float = 0.0
    _information: float = 0.0
    # π(1 - π)(1 - 2π): times the third moment of rewards that is the sum's, where both arms earn alike.
    _skewness: float = 0.0
    _clusters: dict[str, float] = field(default_factory=dict)
    # Of the clusters' terms.
    _squared_terms: float = 0.0
    _cubed_terms: float = 0.0

    def add(self, reward: float, in_version: bool, share: float, cluster: str | None = None) -> None:
        """One matured decision; `share` is the version's when it was drawn, above 0 and below 1."""
        seen = self.decisions + self.champion_decisions
        centre = reward if seen == 0 else self._centre
        term = (in_version - share) * (reward - centre)
        self._add_term(term, cluster)
        self._total += term
        self._information += share * (1 - share)
        self._skewness += share * (1 - share) * (1 - 2 * share)
        self._centre = centre + (reward - centre) / min(seen + 1, MEMORY)
        self._sums[in_version] += reward
        self._squares += reward * reward
        self._cubes += (reward - centre) ** 3
        if in_version:
            self.decisions += 1
        else:
            self.champion_decisions += 1

    def difference(self, alpha_lower: float, alpha_upper: float) -> Difference:
        """As it stands now; the bounds are infinite while an arm has no decision, or all rewards are the same."""
        mean = self._sums[True] / max(1, self.decisions)
        champion_mean = self._sums[False] / max(1, self.champion_decisions)
        if not self.decisions or not self.champion_decisions:
            return self._told(mean, champion_mean, 0.0, -math.inf, math.inf)
        found = self._total / self._information
        # At least what the sum tells less what it may have strayed up, at most that and what it may have strayed down.
        lower = self._deviation(alpha_lower, 1) / self._information
        upper = self._deviation(alpha_upper, -1) / self._information
        return self._told(mean, champion_mean, found, found - lower, found + upper)

    def _add_term(self, term: float, cluster: str | None) -> None:
        if cluster is None:
            before, after = 0.0, term
        else:
            before = self._clusters.get(cluster, 0.0)
            after = self._clusters[cluster] = before + term
        self._squared_terms += after * after - before * before
        self._cubed_terms += after**3 - before**3

    def _deviation(self, alpha: float, direction: int) -> float:
        """How far the sum may have strayed up (1) or down (-1)."""
        seen = self.decisions + self.champion_decisions
        mean = (self._sums[0] + self._sums[1]) / seen
        variance = max(0.0, self._squares / seen - mean * mean) * seen / max(1, seen - 1)
        # Pooled, as where both earn alike: an arm that has not yet earned anything must not look certain.
        variance_sum = max(self._squared_terms, variance * self._information)
        third_sum = max(direction * self._cubed_terms, direction * self._cubes / seen * self._skewness)
        return deviation(variance_sum, variance, third_sum, alpha)

    def _told(self, mean: float, champion_mean: float, difference: float, lower: float, upper: float) -> Difference:
        return Difference(self.decisions, self.champion_decisions, mean, champion_mean, difference, lower, upper)
