"""What the joiner could not read: listed, appended to its topic again, or thrown away."""

import asyncio
import base64
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from services.gateway import dead_letters, repository
from services.gateway.answers import DeadLetterAnswer, Page
from services.gateway.dead_letters import DeadLetter
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso, maybe_iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parts import Parts
from services.gateway.routing import ApiRoute, answered, caller_of, parts_of
from shared.db.engine import read_session, write_session
from shared.eventlog import Position, Record
from shared.security import ApiKey

router = APIRouter(route_class=ApiRoute, tags=["dead letters"])


@router.get(
    "/v1/dead-letters",
    summary="List dead letters",
    responses=responses(Page[DeadLetterAnswer]),
    openapi_extra=operation(),
)
async def list_dead_letters(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """In order of topic, partition and offset; of a large payload its beginning only."""
    tenant, engine = caller_of(request).tenant, parts_of(request).engine
    place = decode_cursor(query.cursor, str, int, int)
    after = None if place is None else Position(str(place[0]), int(place[1]), int(place[2]))

    def read() -> Page[DeadLetterAnswer]:
        with read_session(engine) as session:
            found = dead_letters.read_dead_letters(session, tenant, query.limit + 1, after)
        return page_of(found, query.limit, _answer, _place)

    return answered(await asyncio.to_thread(read))


@router.post(
    "/v1/dead-letters/{dead_letter_id}/replay",
    status_code=204,
    summary="Replay a dead letter",
    responses=responses(None, 204, "Replayed"),
    openapi_extra=operation(),
)
async def replay_dead_letter(request: Request, dead_letter_id: str) -> Response:
    """Appends the record to its topic again, as it stood there: what was in its way (a loop that was not there, an
    older release) should be gone. Doing so twice is safe, since events are known by their ids. What still cannot be
    read becomes a dead letter again, at its new place."""
    parts, caller = parts_of(request), caller_of(request)
    position = dead_letters.position_of(dead_letter_id)
    record = await asyncio.to_thread(_read, parts, caller, position)
    await parts.appender.append(position.topic, [record])
    await asyncio.to_thread(_mark_replayed, parts, caller, position)
    return Response(status_code=204)


@router.delete(
    "/v1/dead-letters/{dead_letter_id}",
    status_code=204,
    summary="Delete a dead letter",
    responses=responses(None, 204, "Deleted"),
    openapi_extra=operation(),
)
async def delete_dead_letter(request: Request, dead_letter_id: str) -> Response:
    """The record itself stays on `rewardloop.dead-letters` until retention drops it."""
    position = dead_letters.position_of(dead_letter_id)
    await asyncio.to_thread(_delete, parts_of(request), caller_of(request), position)
    return Response(status_code=204)


def _read(parts: Parts, caller: ApiKey, position: Position) -> Record:
    with read_session(parts.engine) as session:
        return dead_letters.read_record(session, caller.tenant, position)


def _mark_replayed(parts: Parts, caller: ApiKey, position: Position) -> None:
    now = parts.clock()
    with write_session(parts.engine) as session:
        dead_letters.mark_replayed(session, caller.tenant, position, now)
        _audit(session, caller, "replay", position, now)


def _delete(parts: Parts, caller: ApiKey, position: Position) -> None:
    with write_session(parts.engine) as session:
        dead_letters.delete_dead_letter(session, caller.tenant, position)
        _audit(session, caller, "delete", position, parts.clock())


def _audit(session: Session, caller: ApiKey, verb: str, position: Position, now: int) -> None:
    told = f"dead-letters/{dead_letters.id_of(position)}"
    repository.add_audit(session, caller.tenant, caller.key_id, verb, told, now)


def _place(letter: DeadLetter) -> list[int | str]:
    return [letter.position.topic, letter.position.partition, letter.position.offset]


def _answer(letter: DeadLetter) -> DeadLetterAnswer:
    position = letter.position
    return DeadLetterAnswer(
        dead_letter_id=dead_letters.id_of(position),
        topic=position.topic,
        partition=position.partition,
        position=position.offset,
        reason=letter.reason,
        received_at=iso(letter.received_at),
        dead_at=iso(letter.dead_at),
        replayed_at=maybe_iso(letter.replayed_at),
        size=letter.size,
        payload=base64.b64encode(letter.shown).decode(),
    )
