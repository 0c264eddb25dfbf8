"""`rewardloop loops`: the decision problems of the tenant."""

from typing import Annotated, Final

import typer

from services.cli.api import JsonObject, loop_path
from services.cli.connection import session_of
from services.cli.inputs import read_object
from services.cli.output import AsJson, note, show_one, show_rows

app = typer.Typer(help="Loops: list, show, put, delete, freeze, unfreeze.", no_args_is_help=True)

LoopId = Annotated[str, typer.Argument(metavar="LOOP", help="The loop's name.")]
COLUMNS: Final = {
    "loop": "loop_id",
    "champion": "aliases.champion",
    "mode": "learning_mode",
    "frozen to": "frozen_to",
    "exploration": "exploration.strategy",
    "revision": "settings_revision",
    "created": "created_at",
}


@app.command("list")
def list_loops(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the loops."""
    show_rows(session_of(context).api.pages("/v1/loops"), COLUMNS, as_json)


@app.command("show")
def show_loop(context: typer.Context, loop_id: LoopId, as_json: AsJson = False) -> None:
    """Shows a loop's settings with every default."""
    show_one(session_of(context).api.get(loop_path(loop_id)), as_json)


@app.command("put")
def put_loop(
    context: typer.Context,
    loop_id: LoopId,
    settings: Annotated[str, typer.Argument(help="Its settings: JSON, @file or @- for standard input.")],
    as_json: AsJson = False,
) -> None:
    """Creates a loop, or changes it to these settings."""
    body = read_object(settings, "the settings")
    loop = session_of(context).api.put(loop_path(loop_id), body)
    if as_json:
        show_one(loop, as_json)
    else:
        note(f"loop {loop_id} has settings revision {loop['settings_revision']}; {_serving(loop)}")


@app.command("delete")
def delete_loop(
    context: typer.Context,
    loop_id: LoopId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Deletes a loop with its decisions, feedback, experiences and model versions."""
    if not yes:
        typer.confirm(f"Delete {loop_id} and everything that it has learned?", abort=True, err=True)
    session_of(context).api.delete(loop_path(loop_id))
    note(f"loop {loop_id} is gone")


@app.command("freeze")
def freeze_loop(
    context: typer.Context,
    loop_id: LoopId,
    serve: Annotated[str, typer.Option(help="baseline, or champion as it is now.")] = "baseline",
) -> None:
    """Stops a loop's learning until it is unfrozen: the kill switch."""
    session_of(context).api.post(loop_path(loop_id, "freeze"), {"serve": serve})
    note(f"loop {loop_id} is frozen: its {serve} serves")


@app.command("unfreeze")
def unfreeze_loop(context: typer.Context, loop_id: LoopId) -> None:
    """Lets a loop learn again, from what came meanwhile too."""
    session_of(context).api.post(loop_path(loop_id, "unfreeze"))
    note(f"loop {loop_id} learns again")


def _serving(loop: JsonObject) -> str:
    champion = loop["aliases"].get("champion")
    return "it has no model version yet" if champion is None else f"model version {champion} serves"
