"""`rewardloop keys`: who may call."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from services.cli.connection import session_of
from services.cli.output import AsJson, note, show_one, show_rows

app = typer.Typer(help="Keys: list, create, revoke.", no_args_is_help=True)


class KeyRole(StrEnum):
    """What a key allows: `manage` allows everything."""

    DECIDE = "decide"
    FEEDBACK = "feedback"
    MANAGE = "manage"


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the keys, revoked ones too; the keys themselves are not kept."""
    columns = {"key id": "key_id", "role": "role", "created": "created_at", "revoked": "revoked_at"}
    show_rows(session_of(context).api.pages("/v1/keys"), columns, as_json)


@app.command("create")
def create_key(
    context: typer.Context,
    role: Annotated[KeyRole, typer.Argument(help="What it allows; manage allows everything.")],
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, this once."""
    made = session_of(context).api.post("/v1/keys", {"role": role.value})
    if as_json:
        show_one(made, as_json)
        return
    note(f"key {made['key_id']} allows {made['role']}; it is shown this once:")
    typer.echo(made["key"])


@app.command("revoke")
def revoke_key(context: typer.Context, key_id: Annotated[str, typer.Argument(metavar="KEY_ID")]) -> None:
    """Ends a key; the last manage key stays."""
    session_of(context).api.delete(f"/v1/keys/{quote(key_id, safe='')}")
    note(f"key {key_id} is revoked")
