"""What a scenario came to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.checking import Violation
from tests.faults.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the table. Seconds, but for latencies in milliseconds and memory in megabytes."""

    scenario: Scenario
    acknowledged: int
    unknown: int
    unanswered: int
    p50_before: float
    p50: float
    p99: float
    fallbacks: float
    generator_late: float
    recovered: float
    drained: float
    memory: float
    violations: Sequence[Violation]
    # What does not meet its bound, which says nothing about what is stored.
    misses: Sequence[str]

    @classmethod
    def stuck(cls, scenario: Scenario, reason: str) -> "Result":
        """Nothing was measured: the platform did not come as far as that."""
        nan = math.nan
        return cls(scenario, 0, 0, 0, *(nan,) * 8, [Violation("stuck", reason)], [])

    @property
    def holds(self) -> bool:
        """Every invariant, or with a guarantee switched off not the ones that rest on it."""
        broken = {violation.invariant for violation in self.violations}
        return bool(broken & self.scenario.breaks) if self.scenario.breaks else not broken
