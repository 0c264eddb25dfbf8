"""Lists, part by part: a cursor is the place of the last item, and opaque to the caller."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from services.gateway.answers import Answer, Page
from services.gateway.moments import moment_of
from services.gateway.problems import Problem, ProblemType
from shared.loop_settings import ActionId

Place = int | str
Row = TypeVar("Row")
Item = TypeVar("Item", bound=Answer)

GREATEST: Final = 2**62
LONGEST: Final = 256

Moment = Annotated[
    int | None, BeforeValidator(lambda text: moment_of(text)), WithJsonSchema({"type": "string", "format": "date-time"})
]


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(default=50, ge=1, le=500)
    cursor: str | None = Field(default=None, max_length=1024, description="`next_cursor` of the part before.")


class DecisionQuery(PageQuery):
    """Which decisions or experiences."""

    action_id: ActionId | None = None
    model_version: int | None = Field(default=None, ge=1, lt=GREATEST)
    since: Moment = Field(default=None, description="Decided then or later.")
    until: Moment = Field(default=None, description="Decided before then.")


def page_of(
    rows: Sequence[Row], limit: int, item: Callable[[Row], Item], place: Callable[[Row], list[Place]]
) -> Page[Item]:
    """The page of up to `limit` rows; a row more than that tells that there is a page after it."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(items=[item(row) for row in shown], next_cursor=encode_cursor(place(shown[-1])) if more else None)


def encode_cursor(place: list[Place]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")


def decode_cursor(cursor: str | None, *kinds: type[Place]) -> list[Place] | None:
    """The place that a cursor stands for, its parts of these kinds.

    Raises:
        Problem: it is none of ours.
    """
    if cursor is None:
        return None
    try:
        place = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds) or not all(map(_in_bounds, place)):
        raise Problem(ProblemType.INVALID_FIELD, "Send `next_cursor` as it was given.", "cursor")
    return place


def _in_bounds(part: Place) -> bool:
    return abs(part) < GREATEST if isinstance(part, int) else len(part) <= LONGEST and part.isprintable()
