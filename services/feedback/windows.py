"""What the join knows and what it changes: plain data between the tables and the rules."""

from collections import Counter
from dataclasses import dataclass, field

from services.feedback.intake import DeadLetter
from shared.db.decisions import ClosedBy, StoredFeedback
from shared.db.statistics import CountName
from shared.domain import Activation, Decision, EpisodeEnd, Feedback

LoopKey = tuple[str, str]
DecisionKey = tuple[str, str, str]
FeedbackKey = tuple[str, str, str]


@dataclass(slots=True)
class Window:
    """What the join keeps of a decision; `in_time` is the feedback that counts, while that still matters.

    `decision` is there while the window is open, where the loop's reward reads it.
    `closes_at` is None once closed, and while a deferred decision waits for its activation.
    """

    tenant: str
    loop_id: str
    decision_id: str
    request_sha256: bytes
    decided_at: int
    action_id: str
    probability: float
    model_version: int | None
    deferred: bool
    activated_at: int | None = None
    served_action_id: str | None = None
    closes_at: int | None = None
    log_partition: int = 0
    in_time: list[Feedback] = field(default_factory=list)
    decision: Decision | None = None
    traceparent: str | None = None

    @property
    def key(self) -> DecisionKey:
        return self.tenant, self.loop_id, self.decision_id

    @property
    def started_at(self) -> int:
        """When it began; that of a deferred decision does so when it is shown."""
        return self.decided_at if self.activated_at is None else self.activated_at

    @property
    def waits(self) -> bool:
        """It was deferred and nobody has said that it was shown."""
        return self.deferred and self.activated_at is None

    @property
    def is_closed(self) -> bool:
        return self.closes_at is None and not self.waits

    @property
    def served(self) -> tuple[str, float | None]:
        """The action that was shown, and its propensity: None where that was not the drawn one, or is not known."""
        if self.served_action_id is None or self.served_action_id == self.action_id:
            return self.action_id, self.probability or None
        return self.served_action_id, None


@dataclass(frozen=True, slots=True)
class Closing:
    """An experience but for its sequence."""

    window: Window
    reward: float
    closed_at: int
    closed_by: ClosedBy


@dataclass(slots=True)
class Known:
    """What the tables say about the decisions and the feedback ids of a batch, and about windows that are due."""

    windows: dict[DecisionKey, Window] = field(default_factory=dict)
    feedback_ids: set[FeedbackKey] = field(default_factory=set)
    dangling: dict[DecisionKey, list[Feedback]] = field(default_factory=dict)
    activations: dict[DecisionKey, Activation] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a batch adds to the tables and changes in them.

    `touched` are closed windows whose reward may be another one by feedback that has come since.
    `late_after_all` is stored feedback that an activation has shown to be late; `found` is dangling feedback, and
    `activated` dangling activations, whose decision has come.
    """

    decisions: dict[DecisionKey, tuple[Decision, bytes]] = field(default_factory=dict)
    windows: set[DecisionKey] = field(default_factory=set)
    feedback: dict[FeedbackKey, StoredFeedback] = field(default_factory=dict)
    touched: set[DecisionKey] = field(default_factory=set)
    late_after_all: set[FeedbackKey] = field(default_factory=set)
    dangling: dict[FeedbackKey, Feedback] = field(default_factory=dict)
    found: set[FeedbackKey] = field(default_factory=set)
    activations: dict[DecisionKey, Activation] = field(default_factory=dict)
    activated: set[DecisionKey] = field(default_factory=set)
    closings: list[Closing] = field(default_factory=list)
    episode_ends: list[EpisodeEnd] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    counts: Counter[tuple[str, str, CountName]] = field(default_factory=Counter)

    @property
    def loops_with_experiences(self) -> set[LoopKey]:
        """Those that get new ones or, it may be, new revisions."""
        closed = {(closing.window.tenant, closing.window.loop_id) for closing in self.closings}
        return closed | {(tenant, loop_id) for tenant, loop_id, _ in self.touched}
