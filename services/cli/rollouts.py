"""`rewardloop rollout`: a model version brought out by steps, and taken back."""

from typing import Annotated, Final, Literal

import typer

from services.cli.api import JsonObject, loop_path
from services.cli.connection import session_of
from services.cli.inputs import read_object
from services.cli.loops import LoopId
from services.cli.output import AsJson, Limit, note, show_one, show_rows

app = typer.Typer(help="Rollouts: start, list, show, pause, resume, promote, rollback, plan.", no_args_is_help=True)

RolloutId = Annotated[str, typer.Argument(metavar="ROLLOUT_ID")]
Verb = Literal["pause", "resume", "promote", "rollback"]
COLUMNS: Final = {
    "rollout": "rollout_id",
    "version": "model_version",
    "strategy": "settings.strategy",
    "status": "status",
    "percent": "percent",
    "started": "started_at",
}
EVENTS: Final = {"at": "at", "what": "kind", "by": "caused_by", "step": "step", "why": "detail", "figures": "figures"}
MEMBERS: Final = (
    "rollout_id",
    "model_version",
    "champion_version",
    "status",
    "percent",
    "steps",
    "started_at",
    "finished_at",
    "detail",
    "figures",
)


@app.command("start")
def start_rollout(
    context: typer.Context,
    loop_id: LoopId,
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    strategy: Annotated[
        str | None, typer.Option(help="immediate, shadow, canary or progressive; the loop's own where not given.")
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option("--step", help="Percent of the decisions; several times, in order.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="What else the API takes, guardrails for one: JSON, @file or @-.")
    ] = "{}",
    as_json: AsJson = False,
) -> None:
    """Starts a rollout; a loop has one at a time."""
    body: JsonObject = read_object(settings, "--settings") | {"model_version": version}
    given = {"strategy": strategy, "steps": steps}
    body |= {name: value for name, value in given.items() if value}
    show_one(session_of(context).api.post(loop_path(loop_id, "rollouts"), body), as_json, MEMBERS)


@app.command("list")
def list_rollouts(context: typer.Context, loop_id: LoopId, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists rollouts, newest first."""
    show_rows(session_of(context).api.pages(loop_path(loop_id, "rollouts"), limit=limit), COLUMNS, as_json)


@app.command("show")
def show_rollout(context: typer.Context, loop_id: LoopId, rollout_id: RolloutId, as_json: AsJson = False) -> None:
    """Shows a rollout with its steps and the figures that decided them."""
    found = session_of(context).api.get(loop_path(loop_id, "rollouts", rollout_id))
    show_one(found, as_json, MEMBERS)
    if not as_json:
        show_rows(found["events"], EVENTS, False)


@app.command("pause")
def pause_rollout(context: typer.Context, loop_id: LoopId, rollout_id: RolloutId, as_json: AsJson = False) -> None:
    """Holds a rollout at its step."""
    _steer(context, loop_id, rollout_id, "pause", as_json)


@app.command("resume")
def resume_rollout(context: typer.Context, loop_id: LoopId, rollout_id: RolloutId, as_json: AsJson = False) -> None:
    """Lets a rollout go on."""
    _steer(context, loop_id, rollout_id, "resume", as_json)


@app.command("promote")
def promote_rollout(context: typer.Context, loop_id: LoopId, rollout_id: RolloutId, as_json: AsJson = False) -> None:
    """Makes its version the champion now."""
    _steer(context, loop_id, rollout_id, "promote", as_json)


@app.command("rollback")
def roll_back_rollout(context: typer.Context, loop_id: LoopId, rollout_id: RolloutId, as_json: AsJson = False) -> None:
    """Takes its version back now."""
    _steer(context, loop_id, rollout_id, "rollback", as_json)


@app.command("plan")
def plan_rollout(
    context: typer.Context,
    loop_id: LoopId,
    lift: Annotated[float, typer.Argument(help="How much more it earns, as a share: .2; one that is worse: -- -.3")],
    base_reward: Annotated[float | None, typer.Option(help="The champion's; the loop's own where not given.")] = None,
    share: Annotated[float, typer.Option(help="Of the decisions that the version makes.")] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Says how many decisions a rollout needs, and refuses what is hopeless."""
    body = {"lift": lift, "share": share} | ({} if base_reward is None else {"base_reward": base_reward})
    show_one(session_of(context).api.post(loop_path(loop_id, "rollouts:plan"), body), as_json)


def _steer(context: typer.Context, loop_id: str, rollout_id: str, verb: Verb, as_json: bool) -> None:
    answer = session_of(context).api.post(loop_path(loop_id, "rollouts", rollout_id, verb))
    if as_json:
        show_one(answer, as_json)
    else:
        note(f"rollout {rollout_id} is {answer.get('status', verb)}")
