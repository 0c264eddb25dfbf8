"""What a request's body may be written in: JSON, or MessagePack, which is read sooner and holds bytes as they are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import msgspec
import orjson
from fastapi import Request

from services.gateway.parsing import BODY_BYTES, MAX_DEPTH, content_type_of, is_json, parse_json, read_body
from services.gateway.problems import Problem, ProblemType

MESSAGEPACK_TYPE: Final = "application/msgpack"
# What a body may have been written in besides JSON.
PACKED: Final = (MESSAGEPACK_TYPE,)


@dataclass(frozen=True, slots=True)
class Format:
    """`decoder` makes one of a type; `parse` gives the value of any body, checked; `write` is its inverse."""

    decoder: Callable[[Any], Any]
    parse: Callable[[bytes], object]
    write: Callable[[object], bytes]
    # What a body without bytes means.
    empty: bytes


async def read_sent(request: Request, limit: int = BODY_BYTES) -> tuple[bytes, Format]:
    """A body that nobody has looked at yet, and what it is written in.

    Raises:
        Problem: neither JSON nor MessagePack, or larger than the limit.
    """
    content_type = content_type_of(request)
    if content_type == MESSAGEPACK_TYPE:
        form = MESSAGEPACK
    elif is_json(content_type):
        form = JSON
    else:
        detail = f"Send `Content-Type: application/json` or `{MESSAGEPACK_TYPE}`."
        raise Problem(ProblemType.UNSUPPORTED_CONTENT_TYPE, detail)
    return await read_body(request, limit) or form.empty, form


def parse_messagepack(raw: bytes) -> object:
    """The value; refuses NaN, infinity, extensions, keys that are no texts, and nesting of more than 32 levels.

    Raises:
        Problem: as above, or it is no MessagePack.
    """
    try:
        value: object = msgspec.msgpack.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
        raise _unreadable("It is cut, garbled, or nests too deep.") from None
    _hold_like_json(value, 1)
    return value


def _hold_like_json(value: object, depth: int) -> None:
    """But for bytes, nothing is in it that JSON could not hold."""
    if isinstance(value, float) and not isfinite(value):
        raise _unreadable("A number is not finite.")
    if not (value is None or isinstance(value, str | bool | int | float | bytes | dict | list)):
        raise _unreadable("It holds an extension type.")
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise _unreadable(f"It nests deeper than {MAX_DEPTH} levels.")
        for item in _items(value):
            _hold_like_json(item, depth + 1)


def _items(value: Mapping[object, object] | list[object]) -> Iterator[object]:
    if isinstance(value, list):
        yield from value
        return
    for key, item in value.items():
        if not isinstance(key, str):
            raise _unreadable("A key is no text.")
        yield item


def _unreadable(detail: str) -> Problem:
    return Problem(ProblemType.INVALID_MESSAGEPACK, detail)


JSON: Final = Format(msgspec.json.Decoder, parse_json, orjson.dumps, b"null")
MESSAGEPACK: Final = Format(msgspec.msgpack.Decoder, parse_messagepack, msgspec.msgpack.encode, b"\xc0")
