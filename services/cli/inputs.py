"""What people type: JSON, or a file that holds it."""

import base64
import json
import mimetypes
import sys
from collections.abc import Iterator
from pathlib import Path

from services.cli.api import CommandError, JsonObject


def read_text(source: str) -> str:
    """The text itself; of a file where it begins with @, of standard input where it is @-.

    Raises:
        CommandError: the file cannot be read.
    """
    if not source.startswith("@"):
        return source
    return read_bytes(source[1:]).decode("utf-8", "replace")


def read_bytes(path: str) -> bytes:
    """What a file holds; `-`: standard input."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def read_object(source: str, what: str) -> JsonObject:
    """The JSON object of `{…}` or `@file`.

    Raises:
        CommandError: it is none.
    """
    text = read_text(source)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandError(f"{what} is not JSON: {error} (of a file: @{source.lstrip('@')})") from error
    if not isinstance(value, dict):
        raise CommandError(f"{what} is not a JSON object, as in {{…}}")
    return value


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a file as they are, a chunk at a time; `-`: of standard input."""
    if path == "-":
        yield from sys.stdin.buffer
        return
    try:
        with Path(path).open("rb") as file:
            yield from file
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def named(pairs: list[str], option: str) -> dict[str, str]:
    """`name=value` of an option that may be given several times."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"{option} takes name=value, not {pair!r}", 2)
        found[name] = value
    return found


def media_of(path: str) -> JsonObject:
    """A file as a context's value: a picture, a sound or a clip."""
    data = base64.b64encode(read_bytes(path)).decode()
    content_type, _ = mimetypes.guess_type(path)
    return {"data": data} | ({} if content_type is None else {"content_type": content_type})
