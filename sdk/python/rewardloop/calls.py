"""Calls of the API as data: the clients send them, each in its own way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote

from rewardloop.answers import Decision, JsonObject
from rewardloop.ids import new_id
from rewardloop.options import DecideOptions
from rewardloop.values import actions_of, context_of

End = Literal["terminated", "truncated"]

# Making a loop waits for its first model version.
LOOP_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request. Where `again` is false it is not repeated, since it could be done twice."""

    method: str
    path: str
    body: object = None
    timeout: float | None = None
    again: bool = True


def address(loop_id: str, *parts: str) -> str:
    return "/".join(("/v1/loops", *(quote(part, safe="") for part in (loop_id, *parts))))


def decide_body(context: Mapping[str, object], options: DecideOptions) -> JsonObject:
    """A decision's request, with an id of its own where none is given."""
    previous = options.get("previous")
    body: JsonObject = {
        "decision_id": options.get("decision_id") or new_id(),
        "context": context_of(context),
        "excluded_action_ids": list(options.get("excluded", ())) or None,
        "baseline_action_id": options.get("baseline"),
        "subject_id": options.get("subject_id"),
        "episode_id": options.get("episode_id"),
        "previous_decision_id": None if previous is None else id_of(previous),
        "deferred": options.get("deferred") or None,
        "explain": options.get("explain") or None,
    }
    if "actions" in options:
        body["actions"] = actions_of(options["actions"])
    return {name: value for name, value in body.items() if value is not None}


def decide_call(loop_id: str, body: JsonObject, timeout: float | None = None) -> Call:
    return Call("POST", address(loop_id, "decisions"), body, timeout)


def activate_call(loop_id: str, decision_id: str, served_action_id: str | None) -> Call:
    body = {} if served_action_id is None else {"served_action_id": served_action_id}
    return Call("POST", address(loop_id, "decisions", decision_id, "activate"), body)


def end_call(loop_id: str, episode_id: str, decision_id: str, end: End) -> Call:
    body = {"end": end, "decision_id": decision_id}
    return Call("POST", address(loop_id, "episodes", episode_id, "end"), body)


def feedback_call(loop_id: str, events: Sequence[JsonObject]) -> Call:
    return Call("POST", address(loop_id, "feedback"), list(events))


def activation_of(loop_id: str, decision: Decision | str, served_action_id: str | None) -> Call:
    """Of a decision that was made here it says what was served: the platform may have to be told."""
    local = decision.action_id if isinstance(decision, Decision) and decision.is_local else None
    return activate_call(loop_id, id_of(decision), served_action_id or local)


def event_of(
    decision: Decision | str,
    value: float | str | bool,
    metric: str,
    occurred_at: datetime | None,
    feedback_id: str | None,
) -> JsonObject:
    """Feedback as the API takes it.

    Raises:
        ValueError: a time without its offset, or a number that is not finite.
    """
    if occurred_at is not None and occurred_at.tzinfo is None:
        raise ValueError("`occurred_at` needs its time zone")
    plain = value if isinstance(value, str) else float(value)
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"a value of {metric} is a finite number or a text, not {plain}")
    event = {"decision_id": id_of(decision), "feedback_id": feedback_id or new_id(), "metric": metric, "value": plain}
    return event | ({} if occurred_at is None else {"occurred_at": occurred_at.isoformat()})


def id_of(decision: Decision | str) -> str:
    return decision.decision_id if isinstance(decision, Decision) else decision
