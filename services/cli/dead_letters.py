"""`rewardloop dead-letters`: events that could not be read."""

from typing import Annotated, Final
from urllib.parse import quote

import typer

from services.cli.connection import session_of
from services.cli.output import AsJson, Limit, note, show_rows

app = typer.Typer(help="Dead letters: list, replay, delete.", no_args_is_help=True)

LetterId = Annotated[str, typer.Argument(metavar="ID")]
COLUMNS: Final = {
    "id": "dead_letter_id",
    "topic": "topic",
    "partition": "partition",
    "position": "position",
    "reason": "reason",
    "received": "received_at",
    "replayed": "replayed_at",
}


@app.command("list")
def list_dead_letters(context: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Lists dead letters with the reason of each."""
    show_rows(session_of(context).api.pages("/v1/dead-letters", limit=limit), COLUMNS, as_json)


@app.command("replay")
def replay_dead_letter(context: typer.Context, letter_id: LetterId) -> None:
    """Appends the event to its topic again."""
    session_of(context).api.call("POST", f"/v1/dead-letters/{quote(letter_id, safe='')}/replay")
    note(f"dead letter {letter_id} is replayed")


@app.command("delete")
def delete_dead_letter(context: typer.Context, letter_id: LetterId) -> None:
    """Forgets a dead letter."""
    session_of(context).api.delete(f"/v1/dead-letters/{quote(letter_id, safe='')}")
    note(f"dead letter {letter_id} is deleted")
