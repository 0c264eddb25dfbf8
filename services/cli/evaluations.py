"""`rewardloop evaluate`: what another policy would have earned, told from logged experiences."""

from typing import Annotated, Final

import typer

from services.cli.api import CommandError, JsonObject, loop_path
from services.cli.connection import Session, session_of
from services.cli.experiences import Since, Until, between
from services.cli.inputs import read_object
from services.cli.loops import LoopId
from services.cli.output import AsJson, Limit, note, show_one, show_rows

POLL_SECONDS: Final = 0.5
ENDED: Final = frozenset({"succeeded", "failed", "skipped"})
MEMBERS: Final = ("evaluation_id", "target", "status", "detail")
FOUND: Final = ("rows", "effective_sample_size", "max_weight", "unsupported_share", "verdict")
ESTIMATES: Final = {
    "estimator": "estimator",
    "value": "value",
    "95 % (normal)": "normal",
    "bootstrap": "bootstrap",
    "empirical Bernstein": "empirical_bernstein",
}
COLUMNS: Final = {"evaluation": "evaluation_id", "target": "target", "status": "status", "requested": "requested_at"}


def evaluate(
    context: typer.Context,
    loop_id: LoopId,
    target: Annotated[
        str,
        typer.Argument(help="version:N, baseline, uniform, constant:ACTION, or @file with a table of probabilities."),
    ],
    estimators: Annotated[
        list[str] | None,
        typer.Option("--estimator", help="ips, snips, dm, dr, switch_dr, replay; all where none is given."),
    ] = None,
    since: Since = None,
    until: Until = None,
    clip: Annotated[float | None, typer.Option(help="No row weighs more than this.")] = None,
    wait: Annotated[bool, typer.Option(help="Stay until it has ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Evaluates a policy off-policy; fails where the evaluation does."""
    session = session_of(context)
    body: JsonObject = {"target": target_of(target)}
    given = {"estimators": estimators, "window": between(since, until), "clip": clip}
    body |= {name: value for name, value in given.items() if value}
    found = session.api.post(loop_path(loop_id, "evaluations"), body)
    if wait:
        found = _wait(session, loop_id, found)
    show_one(found, as_json, MEMBERS)
    if found["status"] == "failed":
        raise CommandError(f"the evaluation failed: {found.get('detail')}")
    if not as_json and found.get("result"):
        _show_result(found["result"])


def evaluations(context: typer.Context, loop_id: LoopId, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Lists evaluations, newest first."""
    show_rows(session_of(context).api.pages(loop_path(loop_id, "evaluations"), limit=limit), COLUMNS, as_json)


def target_of(text: str) -> str | JsonObject:
    """What the API calls the policy.

    Raises:
        CommandError: there is no such kind of target.
    """
    kind, _, name = text.partition(":")
    match kind:
        case "baseline" | "uniform" if not name:
            return kind
        case "version" if name:
            return {"model_version": name}
        case "constant" if name:
            return {"constant": name}
    if text.startswith(("@", "{")):
        return {"table": read_object(text, "the table")}
    raise CommandError(
        f"no such target: {text!r} is neither version:N, baseline, uniform, constant:ACTION nor @file", 2
    )


def _show_result(result: JsonObject) -> None:
    """How much there is to go by, and what each estimator makes of it."""
    show_one(result, False, FOUND)
    named = {"logged": result["logged"], **result["estimates"]}
    show_rows([{"estimator": name, **estimate} for name, estimate in named.items()], ESTIMATES, False)
    for warning in result["warnings"]:
        note(f"warning: {warning}")


def _wait(session: Session, loop_id: str, found: JsonObject) -> JsonObject:
    note(f"evaluation {found['evaluation_id']} is under way")
    while found.get("status") not in ENDED:
        session.sleep(POLL_SECONDS)
        found = session.api.get(loop_path(loop_id, "evaluations", found["evaluation_id"]))
    return found
