"""Does a version earn less than the champion in any one segment, whatever it earns on the whole?

Each segment is a comparison of its own. Its α is a share of the whole that its place gives it, in order of appearance:
1/(1·2) of the first, 1/(2·3) of the second, … add up to one, however many segments there come to be (Bonferroni with
weights that are fixed before a segment's rewards are seen).
"""

from dataclasses import dataclass, field
from typing import Final

from shared.evaluation.arm_comparison import ArmComparison, Difference

# More are not looked at: they take memory, and their share of α tells nothing any more.
MOST_SEGMENTS: Final = 50


@dataclass(slots=True)
class SegmentComparisons:
    """Comparisons by segment, in order of appearance."""

    _comparisons: dict[str, ArmComparison] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._comparisons)

    def add(self, segment: str, reward: float, in_version: bool, share: float, cluster: str | None = None) -> None:
        """One matured decision of a segment, as `ArmComparison.add` takes it."""
        comparison = self._comparisons.get(segment)
        if comparison is None and len(self._comparisons) < MOST_SEGMENTS:
            comparison = self._comparisons[segment] = ArmComparison()
        if comparison is not None:
            comparison.add(reward, in_version, share, cluster)

    def worst(self, alpha: float) -> tuple[str, Difference] | None:
        """The segment of the lowest upper bound; all bounds hold together, at every look, but for α."""
        found = [
            (segment, comparison.difference(alpha, alpha / (place * (place + 1))))
            for place, (segment, comparison) in enumerate(self._comparisons.items(), 1)
        ]
        return min(found, key=lambda one: one[1].upper, default=None)
