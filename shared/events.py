"""Topics of the event log, and events as records: a protobuf payload in a CloudEvents envelope (binary mode)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cloudevents.core.bindings.kafka import to_binary_event
from cloudevents.core.v1.event import CloudEvent
from google.protobuf.message import DecodeError, Message

from shared import domain, wire
from shared.eventlog import Record
from shared.pb.events.v1 import events_pb2
from shared.rollouts import ShadowScored

DECISIONS: Final = "rewardloop.decisions"
FEEDBACK: Final = "rewardloop.feedback"
EXPERIENCES: Final = "rewardloop.experiences"
MODELS: Final = "rewardloop.models"
SHADOWS: Final = "rewardloop.shadows"
DEAD_LETTERS: Final = "rewardloop.dead-letters"
TOPICS: Final = (DECISIONS, FEEDBACK, EXPERIENCES, MODELS, SHADOWS, DEAD_LETTERS)

TYPE_PREFIX: Final = "rewardloop.events.v1."
# Of CloudEvents' extension for distributed tracing.
TRACEPARENT: Final = "ce_traceparent"


@dataclass(frozen=True, slots=True)
class ModelPublished:
    """A hint that a loop has a new model version; the database is the truth."""

    tenant: str
    loop_id: str
    version: int
    published_at: int


Event = (
    domain.Decision
    | domain.Activation
    | domain.Feedback
    | domain.EpisodeEnd
    | domain.ImportedExperience
    | domain.Experience
    | ModelPublished
    | ShadowScored
)


def decision_record(decision: domain.Decision) -> Record:
    key = f"{decision.tenant}/{decision.loop_id}/{decision.decision_id}"
    envelope = _envelope("gateway", events_pb2.DecisionMade.DESCRIPTOR.full_name)
    record = _enveloped(envelope, key, decision.decision_id, decision.decided_at, wire.decision_bytes(decision))
    return _traced(record, decision.traceparent)


def activation_record(activation: domain.Activation) -> Record:
    key = f"{activation.tenant}/{activation.loop_id}/{activation.decision_id}"
    message = wire.activation_to_pb(activation)
    return _record("gateway", key, f"{activation.decision_id}/activation", activation.activated_at, message)


def feedback_record(feedback: domain.Feedback) -> Record:
    key = f"{feedback.tenant}/{feedback.loop_id}/{feedback.decision_id}"
    record = _record("gateway", key, feedback.feedback_id, feedback.received_at, wire.feedback_to_pb(feedback))
    return _traced(record, feedback.traceparent)


def episode_end_record(end: domain.EpisodeEnd) -> Record:
    key = f"{end.tenant}/{end.loop_id}/{end.decision_id}"
    return _record("gateway", key, f"{end.decision_id}/end", end.ended_at, wire.episode_end_to_pb(end))


def imported_record(imported: domain.ImportedExperience) -> Record:
    decision = imported.decision
    key = f"{decision.tenant}/{decision.loop_id}/{decision.decision_id}"
    return _record("gateway", key, decision.decision_id, decision.decided_at, wire.imported_to_pb(imported))


def experience_record(experience: domain.Experience, joined_at: int) -> Record:
    key = f"{experience.tenant}/{experience.loop_id}"
    event_id = f"{key}/{experience.sequence}"
    record = _record("feedback", key, event_id, joined_at, wire.experience_to_pb(experience))
    return _traced(record, experience.traceparent)


def shadow_record(scored: ShadowScored) -> Record:
    key = f"{scored.tenant}/{scored.loop_id}/{scored.decision_id}"
    event_id = f"{scored.rollout_id}/{scored.decision_id}"
    return _record("gateway", key, event_id, scored.scored_at, wire.shadow_to_pb(scored))


def model_record(event: ModelPublished) -> Record:
    key = f"{event.tenant}/{event.loop_id}"
    message = events_pb2.ModelPublished(tenant=event.tenant, loop_id=event.loop_id, version=event.version)
    return _record("trainer", key, f"{key}/{event.version}", event.published_at, message)


def event_from_record(record: Record) -> Event:
    """The event of a record.

    Raises:
        wire.WireError: the record is not one of ours, or its payload is cut; the text says which.
    """
    event_type = record.headers.get("ce_type", b"").decode("utf-8", "replace")
    decode = _DECODERS.get(event_type)
    if decode is None:
        raise wire.WireError(f"event type is {event_type!r}, expected one of {', '.join(sorted(_DECODERS))}")
    try:
        event = decode(record)
    except DecodeError as error:
        raise wire.WireError(f"payload is not a {event_type}") from error
    told = record.headers.get(TRACEPARENT)
    if told is None or not isinstance(event, domain.Decision | domain.Feedback | domain.Experience):
        return event
    traceparent = told.decode("ascii", "replace")
    return replace(event, traceparent=traceparent) if re.match(domain.TRACEPARENT_PATTERN, traceparent) else event


def _record(source: str, key: str, event_id: str, time: int, payload: Message) -> Record:
    envelope = _envelope(source, payload.DESCRIPTOR.full_name)
    return _enveloped(envelope, key, event_id, time, payload.SerializeToString(deterministic=True))


@lru_cache(maxsize=64)
def _envelope(source: str, event_type: str) -> Mapping[str, bytes]:
    """The headers that all events of a kind share, and places for their own."""
    attributes = {
        "id": "id",
        "source": f"/rewardloop/{source}",
        "type": event_type,
        "specversion": "1.0",
        "time": datetime.fromtimestamp(0, UTC),
        "datacontenttype": "application/protobuf",
    }
    return to_binary_event(CloudEvent(attributes, b"")).headers


def _enveloped(envelope: Mapping[str, bytes], key: str, event_id: str, time: int, payload: bytes) -> Record:
    moment = datetime.fromtimestamp(time / 1e6, UTC).isoformat().replace("+00:00", "Z")
    own = {"ce_id": event_id.encode(), "ce_time": moment.encode()}
    return Record(key=key, headers={**envelope, **own}, value=payload)


def _traced(record: Record, traceparent: str | None) -> Record:
    if traceparent is None:
        return record
    return replace(record, headers={**record.headers, TRACEPARENT: traceparent.encode()})


def _model_published(record: Record) -> ModelPublished:
    message = events_pb2.ModelPublished.FromString(record.value)
    return ModelPublished(message.tenant, message.loop_id, message.version, _time(record))


def _time(record: Record) -> int:
    text = record.headers.get("ce_time", b"").decode("utf-8", "replace")
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1e6)
    except ValueError as error:
        raise wire.WireError(f"time of the event is {text!r}") from error


_DECODERS: Final[dict[str, Callable[[Record], Event]]] = {
    TYPE_PREFIX + "DecisionMade": lambda record: wire.decision_from_pb(
        events_pb2.DecisionMade.FromString(record.value)
    ),
    TYPE_PREFIX + "DecisionActivated": lambda record: wire.activation_from_pb(
        events_pb2.DecisionActivated.FromString(record.value)
    ),
    TYPE_PREFIX + "FeedbackReceived": lambda record: wire.feedback_from_pb(
        events_pb2.FeedbackReceived.FromString(record.value)
    ),
    TYPE_PREFIX + "EpisodeEnded": lambda record: wire.episode_end_from_pb(
        events_pb2.EpisodeEnded.FromString(record.value)
    ),
    TYPE_PREFIX + "ExperienceImported": lambda record: wire.imported_from_pb(
        events_pb2.ExperienceImported.FromString(record.value)
    ),
    TYPE_PREFIX + "ExperienceJoined": lambda record: wire.experience_from_pb(
        events_pb2.ExperienceJoined.FromString(record.value)
    ),
    TYPE_PREFIX + "ModelPublished": _model_published,
    TYPE_PREFIX + "ShadowScored": lambda record: wire.shadow_from_pb(events_pb2.ShadowScored.FromString(record.value)),
}
