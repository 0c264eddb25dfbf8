"""The nouns of rolling a model version out. Times are microseconds since 1970, UTC, and end in `_at`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.domain import Doubles, ModelRef
from shared.loop_settings import RolloutSettings

# running: it goes on by itself. paused: a person holds it. inconclusive: no verdict in time, so it stays.
# stopped: an alarm says that its figures cannot be trusted; the champion serves.
RolloutStatus = Literal["running", "paused", "inconclusive", "promoted", "rolled_back", "stopped"]
RolloutEventKind = Literal[
    "started", "stepped", "paused", "resumed", "promoted", "rolled_back", "inconclusive", "stopped"
]
# Who decided: the champion or the version that is rolled out, by the subject's share; holdout: no version may.
Arm = Literal["champion", "canary", "holdout"]
Figures = Mapping[str, float | int | str | None]

HOLDOUT: Final[Arm] = "holdout"
OPEN: Final[tuple[RolloutStatus, ...]] = ("running", "paused", "inconclusive")


@dataclass(frozen=True, slots=True)
class RolloutRef:
    """One rollout of one loop."""

    tenant: str
    loop_id: str
    rollout_id: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """A version on its way to becoming the champion; `step` counts the settings' shares from 0."""

    tenant: str
    loop_id: str
    rollout_id: str
    version: int
    champion_version: int | None
    status: RolloutStatus
    settings: RolloutSettings
    step: int
    step_started_at: int
    started_at: int
    finished_at: int | None
    start_sequence: int
    detail: str | None
    figures: Figures

    @property
    def ref(self) -> RolloutRef:
        return RolloutRef(self.tenant, self.loop_id, self.rollout_id)

    @property
    def model(self) -> ModelRef:
        return ModelRef(self.tenant, self.loop_id, self.version)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def percent(self) -> int:
        """Of the decisions that the version makes now; 0 where it scores along only, or has ended."""
        return self.settings.shares[self.step] if self.is_open else 0

    @property
    def is_at_last_step(self) -> bool:
        return self.step + 1 >= len(self.settings.shares)


@dataclass(frozen=True, slots=True)
class RolloutEvent:
    """One step of a rollout, with the figures that decided it."""

    event_id: str
    at: int
    kind: RolloutEventKind
    caused_by: str
    step: int
    detail: str | None
    figures: Figures


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whose decision it is: the arm, its share, and the rollout with its step, where there is one.

    As it is by default nothing is assigned: neither a rollout nor a holdout is under way.
    """

    arm: Arm | None = None
    share: float = 1.0
    version: int | None = None
    rollout_id: str | None = None
    step: int | None = None


@dataclass(frozen=True, slots=True)
class ShadowScored:
    """What a shadow would have done: its distribution and expected rewards, [A] each, in the order of the decision's
    actions; None where it could not score the context."""

    tenant: str
    loop_id: str
    decision_id: str
    rollout_id: str
    model_version: int
    scored_at: int
    head_sequence: int = 0
    probabilities: Doubles | None = None
    expected_rewards: Doubles | None = None
