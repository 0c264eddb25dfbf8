"""`rewardloop decide`, `feedback` and `decision`: one decision and what came of it."""

import json
from typing import Annotated, Final

import typer

from services.cli.api import CommandError, JsonObject, loop_path
from services.cli.connection import Session, session_of
from services.cli.inputs import media_of, named, read_lines, read_object
from services.cli.loops import LoopId
from services.cli.output import AsJson, note, show_one, show_rows

RANKING: Final = {
    "action": "id",
    "probability": "probability",
    "expected reward": "expected_reward",
    "95 %": "interval",
}
SUMMARY: Final = ("decision_id", "action_id", "probability", "model_version", "fallback_reason", "modalities_missing")
DETAIL: Final = (*SUMMARY, "decided_at", "closes_at", "reward", "sequence", "feedback", "context")
EVENTS_AT_ONCE: Final = 1000


def decide(
    context: typer.Context,
    loop_id: LoopId,
    values: Annotated[str, typer.Option("--context", help="The context: JSON, @file or @-.")] = "{}",
    texts: Annotated[list[str] | None, typer.Option("--text", metavar="NAME=TEXT", help="A text modality.")] = None,
    files: Annotated[
        list[str] | None, typer.Option("--file", metavar="NAME=PATH", help="A picture, sound or clip.")
    ] = None,
    actions: Annotated[
        list[str] | None, typer.Option("--action", help="A candidate; the loop's own where none is given.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The action that the product would take by itself.")] = None,
    subject: Annotated[str | None, typer.Option(help="Whom it is decided for.")] = None,
    decision_id: Annotated[str | None, typer.Option("--id", help="An id of your own, to repeat safely.")] = None,
    deferred: Annotated[bool, typer.Option(help="The reward's window starts at its activation.")] = False,
    explain: Annotated[bool, typer.Option(help="Tell what each modality had to do with it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Decides once; the answer is logged, and feedback may follow."""
    body: JsonObject = {"context": _context(values, texts or [], files or []), "deferred": deferred, "explain": explain}
    given = {"baseline_action_id": baseline, "subject_id": subject, "decision_id": decision_id}
    body |= {name: value for name, value in given.items() if value is not None}
    if actions:
        body["actions"] = [{"id": action} for action in actions]
    answer = session_of(context).api.post(loop_path(loop_id, "decisions"), body)
    if as_json:
        show_one(answer, as_json)
        return
    show_one(answer, False, (*SUMMARY, "modality_importance") if explain else SUMMARY)
    show_rows(answer["ranking"], RANKING, False)


def feedback(
    context: typer.Context,
    loop_id: LoopId,
    decision_id: Annotated[str | None, typer.Argument(help="Which decision it is about.")] = None,
    value: Annotated[str | None, typer.Argument(help="A number, or a text where the metric takes texts.")] = None,
    metric: Annotated[str, typer.Option(help="One of the loop's metrics.")] = "reward",
    file: Annotated[str | None, typer.Option(help="Events as lines of JSON in place of one; - for stdin.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tells what came of a decision; the answer means that it is durable."""
    if (file is None) == (decision_id is None):
        raise CommandError("feedback takes a decision id with a value, or --file", 2)
    if file is not None:
        accepted = _send_file(session_of(context), loop_id, file)
        show_one({"accepted": accepted}, as_json)
        return
    if value is None:
        raise CommandError("feedback takes a value after the decision id", 2)
    event = {"decision_id": decision_id, "metric": metric, "value": _value(value)}
    show_one(session_of(context).api.post(loop_path(loop_id, "feedback"), event), as_json)


def show_decision(
    context: typer.Context,
    loop_id: LoopId,
    decision_id: Annotated[str, typer.Argument()],
    as_json: AsJson = False,
) -> None:
    """Shows a decision with its feedback and its reward so far."""
    found = session_of(context).api.get(loop_path(loop_id, "decisions", decision_id))
    show_one(found, as_json, DETAIL)


def _context(values: str, texts: list[str], files: list[str]) -> JsonObject:
    read = {name: media_of(path) for name, path in named(files, "--file").items()}
    return read_object(values, "--context") | named(texts, "--text") | read


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _send_file(session: Session, loop_id: str, path: str) -> int:
    """The count of events that are durable."""
    waiting: list[JsonObject] = []
    accepted = 0
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        try:
            waiting.append(json.loads(line))
        except ValueError as error:
            raise CommandError(
                f"{path}, line {number} is not JSON: {error}; {accepted} events before it are sent"
            ) from error
        if len(waiting) == EVENTS_AT_ONCE:
            accepted += session.api.post(loop_path(loop_id, "feedback"), waiting)["accepted"]
            waiting = []
    if waiting:
        accepted += session.api.post(loop_path(loop_id, "feedback"), waiting)["accepted"]
    if accepted == 0:
        note(f"{path} holds no events")
    return int(accepted)
