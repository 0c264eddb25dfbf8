"""From the bytes of a request to checked values: sizes, JSON, and the field at fault."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from services.gateway.problems import Problem, ProblemType

BODY_BYTES: Final = 8 * 1024 * 1024
BATCH_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 32
CONTAINERS: Final = frozenset({dict, list})

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, limit: int = BODY_BYTES) -> bytes:
    """The whole body.

    Raises:
        Problem: it is larger than the limit; nothing beyond the limit is kept.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        _refuse_size(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            _refuse_size(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_json(request: Request) -> object:
    """The body as JSON. An empty body is null; a body without a content type counts as JSON."""
    return parse_json(await read_json_bytes(request))


async def read_optional_json(request: Request) -> object:
    """The same where a body may be left out: an empty one is an object without members."""
    return parse_json(await read_json_bytes(request, empty=b"{}"))


async def read_json_bytes(request: Request, limit: int = BODY_BYTES, empty: bytes = b"null") -> bytes:
    """A body that should be JSON, not looked at yet."""
    if not is_json(content_type_of(request)):
        raise Problem(ProblemType.UNSUPPORTED_CONTENT_TYPE, "Send `Content-Type: application/json`.")
    return await read_body(request, limit) or empty


def content_type_of(request: Request) -> str:
    """Without its parameters; JSON's where none was sent."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


def parse_json(raw: bytes) -> object:
    """The value; refuses NaN, infinity, lone surrogates, duplicate keys, and nesting of more than 32 levels."""
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(ProblemType.INVALID_JSON, f"Line {error.lineno}, column {error.colno}: {error.msg}.") from None
    keys = _count_keys(value, 1)
    # Each key has a colon of its own: only where there are more of them can keys have been doubled.
    if raw.count(b":") > keys:
        json.loads(raw, object_pairs_hook=_refuse_duplicates)
    return value


def validated(model: type[Model], value: object) -> Model:
    """The value as a model.

    Raises:
        Problem: it is not valid; names the first field at fault.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_field(error, value) from None


def invalid_field(error: ValidationError, value: object) -> Problem:
    """The problem of a value that is not valid; `field` is null where it is the whole value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = field_at_fault(first["loc"], value, missing=first["type"] == "missing")
    return Problem(ProblemType.INVALID_FIELD, first["msg"].removeprefix("Value error, ") + ".", field or None)


def field_at_fault(location: Sequence[str | int], value: object, missing: bool) -> str:
    """The path in the body that a validation error is about, without the validator's own steps."""
    path: list[str] = []
    for step in location:
        leads_on = step in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(step, int)
        if leads_on:
            value = value[step]  # type: ignore[index] # it does
        elif not (missing and isinstance(value, Mapping)):
            break
        path.append(str(step))
    return ".".join(path)


def joined(*parts: str) -> str:
    """A path of fields."""
    return ".".join(part for part in parts if part)


def _count_keys(value: object, depth: int) -> int:
    """Keys of all objects; on the path of every decision, hence the exact types and the one look at a list's."""
    if depth > MAX_DEPTH:
        raise Problem(ProblemType.INVALID_JSON, f"It nests deeper than {MAX_DEPTH} levels.")
    keys = 0
    items: Iterable[object] = ()
    if type(value) is dict:
        keys, items = len(value), value.values()
    elif type(value) is list and not CONTAINERS.isdisjoint(map(type, value)):
        items = value
    for item in items:
        if type(item) in CONTAINERS:
            keys += _count_keys(item, depth + 1)
    return keys


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise Problem(ProblemType.INVALID_JSON, "An object has the same key twice.", key)
        seen.add(key)


def _refuse_size(limit: int) -> NoReturn:
    raise Problem(ProblemType.BODY_TOO_LARGE, f"This address takes at most {limit // 2**20} MiB.")
