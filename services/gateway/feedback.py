"""Feedback: checked against the loop's reward, and logged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError
from uuid_utils import uuid7

from services.gateway.appending import Appender
from services.gateway.bodies import MAX_FEEDBACK, FeedbackRequest
from services.gateway.parsing import invalid_field, joined, validated
from services.gateway.problems import Problem, ProblemType
from shared.domain import Clock, Feedback
from shared.events import FEEDBACK, feedback_record
from shared.functional.rewards import words
from shared.loop_settings import Loop, MetricSettings
from shared.tracing import OFF, Tracing

# Clocks differ; what lies further ahead was never seen.
FURTHEST_AHEAD: Final = 24 * 3600 * 1_000_000

EVENTS: Final = TypeAdapter(list[FeedbackRequest])


@dataclass(frozen=True, slots=True)
class FeedbackTaker:
    """Takes feedback, by whatever API it comes. `on_taken` is told how many events became durable."""

    appender: Appender
    clock: Clock
    on_taken: Callable[[int], None]
    tracing: Tracing = OFF

    async def take(self, loop: Loop, body: object) -> list[str]:
        """The ids of the events of a body, once they are durable.

        Raises:
            Problem: one is not valid; none is taken.
            EventLogError: nothing is promised of any.
        """
        events = feedback_of(loop, body, self.clock(), self.tracing.current)
        await self.appender.append(FEEDBACK, [feedback_record(event) for event in events])
        self.on_taken(len(events))
        return [event.feedback_id for event in events]


def feedback_of(loop: Loop, body: object, now: int, traceparent: str | None = None) -> list[Feedback]:
    """The events of a body that holds one or a list of them; all are valid, or none is taken.

    Raises:
        Problem: names the field at fault, after its place in the list.
    """
    if not isinstance(body, list):
        return [_event(loop, validated(FeedbackRequest, body), now, "", traceparent)]
    if not 1 <= len(body) <= MAX_FEEDBACK:
        raise Problem(ProblemType.INVALID_FIELD, f"A list holds 1 to {MAX_FEEDBACK:,} events.")
    return [_event(loop, event, now, str(index), traceparent) for index, event in enumerate(_requests(body))]


def _requests(body: list[object]) -> Sequence[FeedbackRequest]:
    try:
        return EVENTS.validate_python(body)
    except ValidationError as error:
        raise invalid_field(error, body) from None


def _event(loop: Loop, request: FeedbackRequest, now: int, at: str, traceparent: str | None) -> Feedback:
    metrics = loop.settings.reward.metrics
    if request.metric not in metrics:
        known = ", ".join(sorted(metrics))
        raise Problem(ProblemType.UNKNOWN_METRIC, f"It has {known}.", joined(at, "metric"))
    _check_value(metrics[request.metric], request, at)
    if request.occurred_at is not None and request.occurred_at > now + FURTHEST_AHEAD:
        raise Problem(ProblemType.INVALID_FIELD, "It lies more than a day ahead.", joined(at, "occurred_at"))
    return Feedback(
        tenant=loop.tenant,
        loop_id=loop.loop_id,
        feedback_id=request.feedback_id or str(uuid7()),
        decision_id=request.decision_id,
        metric=request.metric,
        value=request.value,
        received_at=now,
        occurred_at=request.occurred_at,
        traceparent=traceparent,
    )


def _check_value(metric: MetricSettings, request: FeedbackRequest, at: str) -> None:
    is_text = isinstance(request.value, str)
    if is_text and not metric.takes_texts:
        detail = f"`{request.metric}` takes numbers; with a `scorer` in the loop's reward it would take texts."
    elif metric.takes_texts and not is_text:
        detail = f"`{request.metric}` has a `scorer`: it takes texts, such as a reference caption."
    elif is_text and not words(str(request.value)):
        detail = "The text has no words."
    else:
        return
    raise Problem(ProblemType.INVALID_FIELD, detail, joined(at, "value"))
