"""`rewardloop statistics`: what a loop gathered and earned."""

from typing import Annotated, Final

import typer

from services.cli.api import loop_path
from services.cli.connection import session_of
from services.cli.loops import LoopId
from services.cli.output import AsJson, note, show_one, show_rows

COUNTS: Final = (
    "decisions",
    "feedback",
    "experiences",
    "head_sequence",
    "late_feedback",
    "dangling_feedback",
    "dead_letters",
    "joiner_lag",
    "spooled",
    "share_closed_by_timeout",
    "modality_importance",
)
VERSIONS: Final = {"version": "model_version", "experiences": "experiences", "mean reward": "mean", "95 %": "interval"}


def statistics(
    context: typer.Context,
    loop_id: LoopId,
    segment: Annotated[str | None, typer.Option(help="Fairness by this segment only, as in user.age.")] = None,
    as_json: AsJson = False,
) -> None:
    """Shows counts, the joined reward by model version, and warnings."""
    query = {} if segment is None else {"segment": segment}
    found = session_of(context).api.get(loop_path(loop_id, "statistics"), query)
    show_one(found, as_json, [name for name in COUNTS if name in found])
    if as_json:
        return
    reward = found["reward"]
    all_of_them = [] if reward is None else [{**reward, "model_version": "all"}]
    show_rows([*all_of_them, *found["reward_by_version"]], VERSIONS, False)
    for warning in found["warnings"]:
        note(f"warning: {warning}")
