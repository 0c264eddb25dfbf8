"""`rewardloop models`: model versions, what they are made of, and how two of them differ."""

from typing import Annotated, Final

import typer

from services.cli.api import JsonObject, loop_path
from services.cli.connection import session_of
from services.cli.loops import LoopId
from services.cli.output import AsJson, Limit, flattened, show_one, show_rows

app = typer.Typer(help="Model versions: list, show, diff.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Its number.")]
COLUMNS: Final = {
    "version": "version",
    "status": "status",
    "aliases": "aliases",
    "parent": "parent",
    "experiences": "covers_sequence",
    "gate": "metrics.gate",
    "loss": "metrics.loss",
    "created": "created_at",
}
COMPARED: Final = (
    "settings",
    "architecture",
    "parts",
    "metrics",
    "covers_sequence",
    "settings_revision",
    "code_version",
)


@app.command("list")
def list_models(context: typer.Context, loop_id: LoopId, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists model versions, newest first."""
    show_rows(session_of(context).api.pages(loop_path(loop_id, "models"), limit=limit), COLUMNS, as_json)


@app.command("show")
def show_model(context: typer.Context, loop_id: LoopId, version: Version, as_json: AsJson = False) -> None:
    """Shows a version with its lineage, parts, metrics and settings."""
    show_one(session_of(context).api.get(loop_path(loop_id, "models", version)), as_json)


@app.command("diff")
def diff_models(
    context: typer.Context,
    loop_id: LoopId,
    version: Version,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The version to hold beside it.")],
    as_json: AsJson = False,
) -> None:
    """Shows what differs between two versions: settings, architecture, weights, metrics."""
    api = session_of(context).api
    left, right = (_members(api.get(loop_path(loop_id, "models", number))) for number in (version, other))
    paths = [*left, *(path for path in right if path not in left)]
    rows = [
        {"what": path, "left": left.get(path), "right": right.get(path)}
        for path in paths
        if left.get(path) != right.get(path)
    ]
    show_rows(rows, {"what": "what", f"version {version}": "left", f"version {other}": "right"}, as_json)


def _members(version: JsonObject) -> dict[str, object]:
    return {path: value for name in COMPARED for path, value in flattened(name, version.get(name))}
