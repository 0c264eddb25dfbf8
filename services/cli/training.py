"""`rewardloop train`: a fine-tune now, watched to its end."""

from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from services.cli.api import CommandError, JsonObject, loop_path
from services.cli.connection import Session, session_of
from services.cli.loops import LoopId
from services.cli.output import AsJson, Limit, show_one, show_rows

ENDED: Final = frozenset({"succeeded", "failed", "skipped"})
POLL_SECONDS: Final = 0.5
MEMBERS: Final = ("training_run_id", "status", "model_version", "steps", "loss", "detail")
COLUMNS: Final = {
    "training run": "training_run_id",
    "kind": "kind",
    "why": "reason",
    "status": "status",
    "progress": "progress",
    "loss": "loss",
    "version": "model_version",
    "requested": "requested_at",
}


def train(
    context: typer.Context,
    loop_id: LoopId,
    wait: Annotated[bool, typer.Option(help="Stay until it has ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Fine-tunes now, on all feedback that was acknowledged before; fails where the run does."""
    session = session_of(context)
    run = session.api.post(loop_path(loop_id, "training-runs"))
    if wait:
        run = _watch(session, loop_id, run)
    show_one(run, as_json, MEMBERS)
    if run["status"] == "failed":
        raise CommandError(f"the training run failed: {run['detail']}")


def runs(context: typer.Context, loop_id: LoopId, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists training runs, newest first."""
    show_rows(session_of(context).api.pages(loop_path(loop_id, "training-runs"), limit=limit), COLUMNS, as_json)


def _watch(session: Session, loop_id: str, run: JsonObject) -> JsonObject:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    path = loop_path(loop_id, "training-runs", run["training_run_id"])
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(run["status"], total=1.0)
        while run["status"] not in ENDED:
            session.sleep(POLL_SECONDS)
            run = session.api.get(path)
            loss = "" if run["loss"] is None else f", loss {run['loss']:.4g}"
            progress.update(task, completed=run["progress"], description=f"{run['status']}{loss}")
    return run
