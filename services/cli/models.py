"""`rewardloop models`: model versions, what they are made of, how two differ, brought out and taken in."""

from pathlib import Path
from typing import Annotated, Final

import httpx
import typer

from services.cli.api import JsonObject, loop_path
from services.cli.connection import session_of
from services.cli.loops import LoopId
from services.cli.mlflow_models import mlflow_files
from services.cli.output import AsJson, Limit, flattened, note, show_one, show_rows
from services.cli.version_folders import TAR, read_version, version_files, write_folder
from shared.registry.version_files import tar_of

app = typer.Typer(help="Model versions: list, show, diff, export, export-mlflow, import, gc.", no_args_is_help=True)

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


@app.command("export")
def export_model(
    context: typer.Context,
    loop_id: LoopId,
    version: Version,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to make; LOOP-VERSION where it is not given.")
    ] = None,
) -> None:
    """Writes a version as a folder: weights, manifest, a model card to read."""
    folder = output or Path(f"{loop_id}-{version}")
    write_folder(folder, version_files(session_of(context).api, loop_id, version))
    note(f"version {version} of {loop_id} is in {folder}")


@app.command("export-mlflow")
def export_mlflow(
    context: typer.Context,
    loop_id: LoopId,
    version: Version,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to make; LOOP-VERSION-mlflow where not given.")
    ] = None,
) -> None:
    """Writes a version as a model of MLflow's. Needs `pip install rewardloop-platform[mlflow]`."""
    folder = output or Path(f"{loop_id}-{version}-mlflow")
    write_folder(folder, mlflow_files(version_files(session_of(context).api, loop_id, version)))
    note(f"version {version} of {loop_id} is in {folder}: mlflow.pyfunc.load_model reads it")


@app.command("import")
def import_model(
    context: typer.Context,
    loop_id: LoopId,
    folder: Annotated[Path, typer.Argument(help="A folder that `export` has written, here or elsewhere.")],
    as_json: AsJson = False,
) -> None:
    """Registers a version that was exported; `rollout start` brings it out. Once more is safe."""
    session = session_of(context)
    found, status = session.api.post_bytes(loop_path(loop_id, "models:import"), tar_of(read_version(folder), 0), TAR)
    if as_json:
        show_one(found, as_json)
    else:
        is_new = status == httpx.codes.CREATED
        note(f"{folder} is version {found['version']} of {loop_id}{'' if is_new else ', which was there already'}")


@app.command("gc")
def collect_models(
    context: typer.Context,
    loop_id: LoopId,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and why the rest stays.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes the weights of versions that nothing needs; their rows stay, with their lineage."""
    found = session_of(context).api.post(loop_path(loop_id, "models:collect"), {"dry_run": dry_run})
    if as_json:
        show_one(found, as_json)
        return
    rows = [{"version": version, "weights": "go", "why": "nothing needs them"} for version in found["collected"]]
    rows += [{"version": version, "weights": "stay", "why": why} for version, why in found["kept"].items()]
    rows.sort(key=lambda row: -int(row["version"]))
    show_rows(rows, {name: name for name in ("version", "weights", "why")}, False)
    note(f"{found['bytes']:,} bytes {'would be' if dry_run else 'are'} given up")


def _members(version: JsonObject) -> dict[str, object]:
    return {path: value for name in COMPARED for path, value in flattened(name, version.get(name))}
