"""`rewardloop experiences`, `import` and `export`: logged decisions with what came of them, in and out."""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final, TextIO

import typer

from services.cli.api import Api, CommandError, JsonObject, loop_path
from services.cli.connection import session_of
from services.cli.inputs import read_lines
from services.cli.loops import LoopId
from services.cli.output import AsJson, Limit, note, show_one, show_rows

COLUMNS: Final = {
    "sequence": "sequence",
    "decision": "decision_id",
    "decided": "decided_at",
    "action": "action_id",
    "probability": "probability",
    "reward": "reward",
    "version": "model_version",
    "closed by": "closed_by",
}
COPIED: Final = ("context", "episode_id", "previous_decision_id", "end")
REASONS_SHOWN: Final = 10

Since = Annotated[str | None, typer.Option(help="Decided then or later, as in 2026-11-23T14:05:00Z.")]
Until = Annotated[str | None, typer.Option(help="Decided before then.")]


def experiences(
    context: typer.Context,
    loop_id: LoopId,
    limit: Limit = 20,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Lists experiences, newest first."""
    found = session_of(context).api.pages(loop_path(loop_id, "experiences"), between(since, until), limit)
    show_rows(found, COLUMNS, as_json)


def import_experiences(
    context: typer.Context,
    loop_id: LoopId,
    path: Annotated[str, typer.Argument(help="Lines of JSON, a decision each; - for standard input.")],
    line_format: Annotated[
        str | None, typer.Option("--format", help="dsjson: a log of VW or Azure Personalizer; else rows of our own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Imports decisions of another system; once more is safe. Fails where a line was skipped."""
    query = {} if line_format is None else {"format": line_format}
    report = session_of(context).api.send_lines(loop_path(loop_id, "experiences:import"), read_lines(path), query)
    show_one(report, as_json, ("accepted", "duplicates", "skipped_total"))
    if report["skipped_total"]:
        for line in report["skipped"][:REASONS_SHOWN]:
            note(f"line {line['line']}: {line['reason']}")
        raise CommandError(f"{report['skipped_total']} lines were skipped; `--json` tells of the first thousand")


def export(
    context: typer.Context,
    loop_id: LoopId,
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write; - for standard output.")] = "-",
    limit: Annotated[int | None, typer.Option(min=1, help="How many experiences at most, the newest.")] = None,
    since: Since = None,
    until: Until = None,
    contexts: Annotated[bool, typer.Option(help="With contexts: one more call a row.")] = True,
) -> None:
    """Writes experiences as lines that `import` reads, newest first. Features of actions are not among them."""
    api = session_of(context).api
    count = 0
    with nullcontext(sys.stdout) if output == "-" else _opened(output) as file:
        for row in _rows(api, loop_id, between(since, until), limit, contexts):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    note(f"{count} experiences written")


def _opened(path: str) -> TextIO:
    try:
        return Path(path).open("w", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _rows(api: Api, loop_id: str, query: dict[str, str], limit: int | None, contexts: bool) -> Iterator[JsonObject]:
    """Of a decision whose reward was restated, the newest experience alone."""
    seen: set[str] = set()
    for experience in api.pages(loop_path(loop_id, "experiences"), query, limit):
        decision_id = experience["decision_id"]
        if decision_id in seen:
            continue
        seen.add(decision_id)
        row = {
            "decision_id": decision_id,
            "time": experience["decided_at"],
            "action_id": experience["action_id"],
            "probability": experience["probability"],
            "reward": experience["reward"],
        }
        if contexts:
            row |= _details(api.get(loop_path(loop_id, "decisions", decision_id)))
        yield {name: value for name, value in row.items() if value is not None}


def _details(decision: JsonObject) -> JsonObject:
    """What a row of an import holds besides."""
    actions = sorted(action["id"] for action in decision["ranking"])
    return {name: decision[name] for name in COPIED} | {"actions": [{"id": action} for action in actions]}


def between(since: str | None, until: str | None) -> dict[str, str]:
    """What was given of a window."""
    return {name: value for name, value in (("since", since), ("until", until)) if value is not None}
