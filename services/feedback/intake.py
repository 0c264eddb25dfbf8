"""From records of the log to events that the tables can hold; other records become dead letters with a reason."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shared import events, wire
from shared.domain import NAME_PATTERN, Activation, Decision, EpisodeEnd, Feedback, ImportedExperience
from shared.eventlog import MAX_RECORD_BYTES, Record, StoredRecord
from shared.loop_settings import MAX_AMOUNT

Joinable = Decision | Activation | Feedback | EpisodeEnd | ImportedExperience

LONGEST_TEXT: Final = 256
LATEST: Final = 2**62
REASON_LENGTH: Final = 500
SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record put aside; `event` is what it says, where its loop is all that is wrong with it."""

    stored: StoredRecord
    reason: str
    event: Joinable | None = None

    @property
    def tenant(self) -> str | None:
        """Whose it is: as the event says, or else the key, which is tenant/loop/decision in what the gateway writes."""
        if self.event is not None:
            return self.event.tenant
        tenant, *rest = self.stored.record.key.split("/")
        return tenant if len(rest) == len(("loop", "decision")) and re.match(NAME_PATTERN, tenant) else None


@dataclass(slots=True)
class Intake:
    """What one read of the log gave: whole events in order with the records they came in, and the rest."""

    events: list[tuple[Joinable, StoredRecord]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)


def take_in(records: Iterable[StoredRecord]) -> Intake:
    """Decodes and checks records; raises nothing, whatever their bytes are."""
    intake = Intake()
    for stored in records:
        try:
            event = events.event_from_record(stored.record)
        except wire.WireError as error:
            intake.dead.append(DeadLetter(stored, str(error)[:REASON_LENGTH]))
            continue
        if not isinstance(event, Joinable):
            intake.dead.append(DeadLetter(stored, f"{type(event).__name__} does not belong in {stored.position.topic}"))
        elif (problem := flaw(event)) is not None:
            intake.dead.append(DeadLetter(stored, problem))
        else:
            intake.events.append((event, stored))
    return intake


def flaw(event: Joinable) -> str | None:
    """Why the tables cannot hold the event, or None. A record that was cut between two fields shows here too."""
    if any(not 0 < len(text) <= LONGEST_TEXT or "\0" in text for text in _names(event)):
        return f"a name is empty, longer than {LONGEST_TEXT} characters, or holds a NUL"
    if not 0 < happened_at(event) < LATEST:
        return f"its time is {happened_at(event)}"
    match event:
        case Decision():
            return _flaw_of_decision(event)
        case ImportedExperience():
            return _flaw_of_imported(event)
        case Feedback(value=str(text)) if "\0" in text:
            return "its text holds a NUL"
        case Feedback(value=float(number)) if not abs(number) <= MAX_AMOUNT:
            return f"its value is {number}"
    return None


def happened_at(event: Joinable) -> int:
    """When the gateway took it, in microseconds."""
    match event:
        case Decision():
            return event.decided_at
        case Activation():
            return event.activated_at
        case Feedback():
            return event.received_at
        case EpisodeEnd():
            return event.ended_at
        case ImportedExperience():
            return event.decision.decided_at


def dead_letter_record(letter: DeadLetter) -> Record:
    """The record as it was, with headers that say where it stood and why it is here; without its value if too large."""
    position, record = letter.stored.position, letter.stored.record
    told = {
        "rewardloop_reason": letter.reason.encode(),
        "rewardloop_topic": position.topic.encode(),
        "rewardloop_partition": b"%d" % position.partition,
        "rewardloop_offset": b"%d" % position.offset,
    }
    whole = Record(record.key, record.value, {**record.headers, **told})
    return whole if whole.size <= MAX_RECORD_BYTES else Record("", b"", told)


def _names(event: Joinable) -> list[str]:
    names: list[str | None] = [event.tenant, event.loop_id, event.decision_id]
    match event:
        case Decision():
            names += [event.action_id, event.fallback_reason, event.previous_decision_id]
        case EpisodeEnd():
            names.append(event.episode_id)
        case Activation():
            names.append(event.served_action_id)
        case Feedback():
            names += [event.feedback_id, event.metric]
    return [name for name in names if name is not None]


def _flaw_of_imported(imported: ImportedExperience) -> str | None:
    if imported.reward is not None and not abs(imported.reward) <= MAX_AMOUNT:
        return f"its reward is {imported.reward}"
    parts: list[Joinable] = [imported.decision, *imported.feedback]
    if imported.episode_end is not None:
        parts.append(imported.episode_end)
    return next(filter(None, map(flaw, parts)), None)


def _flaw_of_decision(decision: Decision) -> str | None:
    if len(decision.request_sha256) != SHA256_BYTES:
        return "its request_sha256 is not a SHA-256"
    if not math.isfinite(decision.probability) or not 0 <= decision.probability <= 1:
        return f"its probability is {decision.probability}"
    if len(decision.actions) != len(decision.probabilities):
        return f"it has {len(decision.actions)} actions and {len(decision.probabilities)} probabilities"
    if decision.model_version is not None and decision.model_version < 1:
        return f"its model version is {decision.model_version}"
    return None
