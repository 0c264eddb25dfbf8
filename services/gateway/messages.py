"""From the public API's protobuf messages to what its HTTP bodies hold, so that both are checked by the same code."""

from math import isfinite

from services.gateway.problems import Problem, ProblemType
from shared.pb.context.v1 import context_pb2
from shared.pb.decision.v1 import decision_pb2

OPTIONAL = ("decision_id", "baseline_action_id", "episode_id", "previous_decision_id", "subject_id")


def decision_members(request: decision_pb2.DecisionRequest) -> dict[str, object]:
    """As bodies.DecisionRequest documents them; bytes stand where JSON has base64.

    Raises:
        Problem: a number is not finite, or a value is empty.
    """
    members: dict[str, object] = {
        "context": {name: _value(value, f"context.{name}") for name, value in request.context.items()},
        "excluded_action_ids": list(request.excluded_action_ids),
        "deferred": request.deferred,
        "explain": request.explain,
    }
    if request.actions:
        members["actions"] = [_action(action, f"actions.{at}") for at, action in enumerate(request.actions)]
    return members | {name: getattr(request, name) for name in OPTIONAL if request.HasField(name)}


def feedback_members(event: decision_pb2.Feedback) -> dict[str, object]:
    """As bodies.FeedbackRequest documents them."""
    members: dict[str, object] = {"decision_id": event.decision_id, "metric": event.metric}
    if event.HasField("feedback_id"):
        members["feedback_id"] = event.feedback_id
    if event.HasField("occurred_at"):
        members["occurred_at"] = event.occurred_at
    if event.HasField("number"):
        members["value"] = event.number
    elif event.HasField("text"):
        members["value"] = event.text
    return members


def _value(value: decision_pb2.Value, field: str) -> object:
    match value.WhichOneof("value"):
        case "text":
            return value.text
        case "media_id":
            return {"media_id": value.media_id}
        case "embedding":
            return {"data": value.embedding}
        case "table":
            return _table(value.table, field)
        case "media" if value.media.HasField("content_type"):
            return {"data": value.media.data, "content_type": value.media.content_type}
        case "media":
            return {"data": value.media.data}
    raise Problem(ProblemType.INVALID_FIELD, "It has no value.", field)


def _action(action: context_pb2.Action, field: str) -> dict[str, object]:
    if not action.HasField("features"):
        return {"id": action.id}
    return {"id": action.id, "features": _table(action.features, f"{field}.features")}


def _table(table: context_pb2.Table, field: str) -> dict[str, object]:
    return {name: _cell(cell, f"{field}.{name}") for name, cell in table.fields.items()}


def _cell(cell: context_pb2.Field, field: str) -> float | str | bool:
    match cell.WhichOneof("value"):
        case "number" if isfinite(cell.number):
            return cell.number
        case "number":
            raise Problem(ProblemType.INVALID_FIELD, "It is not finite.", field)
        case "category":
            return cell.category
        case "flag":
            return cell.flag
    raise Problem(ProblemType.INVALID_FIELD, "It has no value.", field)
