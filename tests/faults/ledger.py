"""What the product sent, and what it was told of it: ok, failed, or unknown where no answer came."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import msgspec

# ok: durable, so exactly one row. unknown: at most one. failed: none. unlogged: a decision that was answered, and told
# not to be durable: none.
Outcome = Literal["ok", "unknown", "failed", "unlogged"]
# The best that any of an event's attempts was told counts.
RANKS: Final[tuple[Outcome, ...]] = ("ok", "unknown", "unlogged", "failed")


class Attempt(msgspec.Struct, omit_defaults=True, tag_field="of"):
    """One request; times are seconds of the machine's monotonic clock."""

    tenant: str
    # The event's number in its tenant's stream; a decision carries it as its `subject_id`.
    number: int
    scheduled_at: float
    sent_at: float
    answered_at: float
    outcome: Outcome
    status: int = 0
    # The event was sent before.
    repeats: bool = False


class DecisionAttempt(Attempt, tag="decision"):
    """`decision_id` is the product's own, or the answer's, if there is one."""

    decision_id: str | None = None
    chosen_id: bool = False
    action_id: str | None = None
    probability: float = 0.0
    model_version: str | None = None
    fallback_reason: str | None = None


class FeedbackAttempt(Attempt, tag="feedback"):
    """Feedback on one decision, under an id of the product's own."""

    feedback_id: str = ""
    decision_id: str = ""
    value: float = 0.0


AnyAttempt = DecisionAttempt | FeedbackAttempt
END_BYTES: Final = 32 * 1024
ENCODER: Final = msgspec.json.Encoder()
DECODER: Final = msgspec.json.Decoder(AnyAttempt)


@dataclass(slots=True)
class Ledger:
    """All attempts of a load, in the order of their answers."""

    decisions: list[DecisionAttempt] = field(default_factory=list)
    feedback: list[FeedbackAttempt] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """From the lines that the load generator wrote; a last one that is cut has not been told yet."""
        return cls._of_lines(path.read_bytes().splitlines(keepends=True))

    @classmethod
    def read_end(cls, path: Path) -> "Ledger":
        """The last hundred attempts or so: looking again and again must not take the machine from the rest."""
        with path.open("rb") as file:
            skipped = max(0, path.stat().st_size - END_BYTES)
            file.seek(skipped)
            lines = file.read().splitlines(keepends=True)
        return cls._of_lines(lines[1:] if skipped else lines)

    @classmethod
    def _of_lines(cls, lines: Iterable[bytes]) -> "Ledger":
        ledger = cls()
        for line in lines:
            if line.endswith(b"\n"):
                ledger.add(DECODER.decode(line))
        return ledger

    def add(self, attempt: AnyAttempt) -> None:
        if isinstance(attempt, DecisionAttempt):
            self.decisions.append(attempt)
        else:
            self.feedback.append(attempt)

    def of(self, tenant: str) -> "Ledger":
        """One tenant's part."""
        return Ledger(
            [one for one in self.decisions if one.tenant == tenant],
            [one for one in self.feedback if one.tenant == tenant],
        )

    @property
    def acknowledged(self) -> int:
        """Different events that are durable, as the product was told."""
        by_number = [outcomes(self.decisions), outcomes(self.feedback)]
        return sum(outcome == "ok" for events in by_number for outcome in events.values())


def outcomes(attempts: Iterable[AnyAttempt]) -> dict[int, Outcome]:
    """What is known of each event, by number: one tenant's attempts."""
    best: dict[int, Outcome] = {}
    for attempt in attempts:
        known = best.get(attempt.number, "failed")
        best[attempt.number] = min(known, attempt.outcome, key=RANKS.index)
    return best


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; not a number where there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def latencies(attempts: Iterable[AnyAttempt], since: float, until: float) -> list[float]:
    """Seconds from schedule to answer of what was scheduled in a stretch of time."""
    return [one.answered_at - one.scheduled_at for one in attempts if since <= one.scheduled_at < until]


def lateness(attempts: Iterable[AnyAttempt]) -> list[float]:
    """How long after its scheduled time the generator sent each: its own fault, not the platform's."""
    return [one.sent_at - one.scheduled_at for one in attempts]
