"""How a fine-tune went, step by step: what its version tells of it afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final

from shared.functional.schedules import cosine_annealing
from shared.registry.manifest import CurvePoint

MOST_POINTS: Final = 100


@dataclass(slots=True)
class TrainingCurve:
    """Of one fine-tune; `learning_rate` is the one that its schedule starts at."""

    learning_rate: float
    _losses: list[tuple[int, int, float]] = field(default_factory=list)

    def note(self, step: int, steps: int, loss: float | None) -> None:
        """`steps` in all; what has no loss yet is no point."""
        if loss is not None:
            self._losses.append((step, steps, loss))

    def points(self) -> Sequence[CurvePoint]:
        """In order, at most a hundred: each stands for as many steps in a row, by their mean loss, at the last one."""
        width = max(1, -(-len(self._losses) // MOST_POINTS))
        groups = (self._losses[start : start + width] for start in range(0, len(self._losses), width))
        return [self._point(group) for group in groups]

    def _point(self, group: Sequence[tuple[int, int, float]]) -> CurvePoint:
        step, steps, _ = group[-1]
        # As the optimizer had it: the schedule counts steps from 0.
        rate = cosine_annealing(step - 1, steps, self.learning_rate, 0.0)
        return CurvePoint(step=step, loss=fmean(loss for _, _, loss in group), learning_rate=rate)
