"""What commands print: tables for people, JSON for scripts; notes go to stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from services.cli.api import JsonObject

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")]
# What a pipe is given: nobody wants a table cut at 80 columns in a file.
PIPED_WIDTH: Final = 200


def note(text: str) -> None:
    """A line for people beside the result."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def print_json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_rows(rows: Iterable[JsonObject], columns: Mapping[str, str], as_json: bool) -> None:
    """A list; `columns` are headings with the path of the member below each."""
    if as_json:
        print_json(list(rows))
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(_shown(_member(row, path)) for path in columns.values()))
    _console().print(table)


def show_one(record: JsonObject, as_json: bool, members: Sequence[str] | None = None) -> None:
    """One object, a member a line; `members` are those that people see."""
    if as_json:
        print_json(record)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name in record if members is None else members:
        for path, value in flattened(name, record.get(name)):
            table.add_row(path, _shown(value))
    _console().print(table)


def flattened(path: str, value: object) -> list[tuple[str, object]]:
    """The members below, each by its path."""
    if isinstance(value, dict) and value:
        return [one for name, below in value.items() for one in flattened(f"{path}.{name}", below)]
    return [(path, value)]


def _console() -> Console:
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _member(row: JsonObject, path: str) -> object:
    found: object = row
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _shown(value: object) -> str:
    match value:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(map(_shown, value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
    return str(value)
