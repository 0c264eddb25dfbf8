"""Decisions: made, read, listed, activated."""

import asyncio
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import (
    ActivationAnswer,
    DecisionAnswer,
    DecisionBatchAnswer,
    DecisionDetail,
    DecisionSummary,
    ExperienceAnswer,
    Page,
)
from services.gateway.bodies import ID, ActivationRequest, DecisionBatch, DecisionRequest
from services.gateway.documentation import operation, responses
from services.gateway.formats import PACKED, read_sent
from services.gateway.moments import iso
from services.gateway.pages import DecisionQuery, decode_cursor, page_of
from services.gateway.parsing import BATCH_BYTES, read_optional_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, DirectRoute, answered, loop_of, parts_of
from services.gateway.stored import detail_of, experience_of, summary_of
from shared.db.decisions import list_decisions, list_experiences, read_decision
from shared.db.engine import read_session
from shared.db.episodes import read_end
from shared.domain import Activation
from shared.events import DECISIONS, activation_record

deciding = APIRouter(route_class=DirectRoute, tags=["decisions"])
reading = APIRouter(route_class=ApiRoute, tags=["decisions"])

EXAMPLE: Final = {
    "context": {"title": "Red shoe", "user": {"age": 31, "country": "NL"}},
    "actions": [{"id": "a", "features": {"price": 10}}, {"id": "b"}],
    "baseline_action_id": "a",
}


@deciding.post(
    "/v1/loops/{loop_id}/decisions",
    summary="Decide",
    responses=responses(DecisionAnswer),
    openapi_extra=operation("decide", DecisionRequest, example=EXAMPLE, also=PACKED),
)
async def decide(request: Request, loop_id: str) -> Response:
    """Chooses an action. The answer means that the decision is durable.

    Repeating a request under its `decision_id` gives the same answer; another request under it is a 409. While no model
    version can be reached the answer says so in `fallback_reason`, with the true probability. At most 8 MiB.
    """
    served = loop_of(request, loop_id)
    raw, form = await read_sent(request)
    parts = parts_of(request)
    return answered(await parts.decider.decide(served, parts.readers[form].read(raw)))


@deciding.post(
    "/v1/loops/{loop_id}/decisions:batch",
    summary="Decide up to 256 times",
    responses=responses(DecisionBatchAnswer),
    openapi_extra=operation("decide", DecisionBatch, example={"decisions": [EXAMPLE]}, also=PACKED),
)
async def decide_batch(request: Request, loop_id: str) -> Response:
    """One answer a row, in the order of the request. A row that is at fault has its problem in its place, with `field`
    counted from the row; the others are decided all the same. At most 32 MiB."""
    served = loop_of(request, loop_id)
    raw, form = await read_sent(request, BATCH_BYTES)
    parts = parts_of(request)
    decider, reader = parts.decider, parts.readers[form]
    batch = reader.rows_of(raw)
    rows = await asyncio.gather(*(decider.decide_row(served, partial(reader.read, row)) for row in batch))
    return answered(b'{"decisions":[' + b",".join(rows) + b"]}")


@deciding.post(
    "/v1/loops/{loop_id}/decisions/{decision_id}/activate",
    status_code=202,
    summary="Activate a deferred decision",
    responses=responses(ActivationAnswer, 202, "Durable"),
    openapi_extra=operation("decide", ActivationRequest, required=False),
)
async def activate(request: Request, loop_id: str, decision_id: str) -> Response:
    """It was shown: the window of its reward starts now. It may name another action than the drawn one."""
    loop = loop_of(request, loop_id).loop
    _refuse_impossible(decision_id)
    asked = validated(ActivationRequest, await read_optional_json(request))
    parts = parts_of(request)
    activation = Activation(loop.tenant, loop.loop_id, decision_id, parts.clock(), asked.served_action_id)
    await parts.appender.append(DECISIONS, [activation_record(activation)])
    return answered({"decision_id": decision_id, "activated_at": iso(activation.activated_at)}, 202)


@deciding.get(
    "/v1/loops/{loop_id}/decisions/{decision_id}",
    summary="Read a decision",
    responses=responses(DecisionDetail),
    openapi_extra=operation("decide"),
)
async def read_one(request: Request, loop_id: str, decision_id: str) -> Response:
    """The decision with its context, its feedback and its reward so far; there as soon as the joiner has read it."""
    loop = loop_of(request, loop_id).loop
    _refuse_impossible(decision_id)
    parts = parts_of(request)

    def read() -> dict[str, object] | None:
        with read_session(parts.engine) as session:
            stored = read_decision(session, loop.tenant, loop.loop_id, decision_id)
            end = stored and read_end(session, stored.decision, loop.settings.episode_timeout, parts.clock())
        return None if stored is None else detail_of(stored, loop.settings, parts.storage.read) | {"end": end}

    found = await asyncio.to_thread(read)
    if found is None:
        raise _unknown_decision()
    return answered(found)


@reading.get(
    "/v1/loops/{loop_id}/decisions",
    summary="List decisions",
    responses=responses(Page[DecisionSummary]),
    openapi_extra=operation(),
)
async def list_all(request: Request, loop_id: str, query: Annotated[DecisionQuery, Query()]) -> Response:
    """Newest first, as far as the joiner has read the log."""
    loop, engine = loop_of(request, loop_id).loop, parts_of(request).engine
    place = decode_cursor(query.cursor, int, str)

    def read() -> Page[DecisionSummary]:
        with read_session(engine) as session:
            rows = list_decisions(
                session,
                loop.tenant,
                loop.loop_id,
                before=None if place is None else (int(place[0]), str(place[1])),
                limit=query.limit + 1,
                action_id=query.action_id,
                model_version=query.model_version,
                since=query.since,
                until=query.until,
            )
        return page_of(rows, query.limit, summary_of, lambda row: list(row.cursor))

    return answered(await asyncio.to_thread(read))


@reading.get(
    "/v1/loops/{loop_id}/experiences",
    summary="List experiences",
    responses=responses(Page[ExperienceAnswer]),
    openapi_extra=operation(),
)
async def list_joined(request: Request, loop_id: str, query: Annotated[DecisionQuery, Query()]) -> Response:
    """Decisions joined with their rewards, newest first."""
    loop, engine = loop_of(request, loop_id).loop, parts_of(request).engine
    place = decode_cursor(query.cursor, int)

    def read() -> Page[ExperienceAnswer]:
        with read_session(engine) as session:
            rows = list_experiences(
                session,
                loop.tenant,
                loop.loop_id,
                before=None if place is None else int(place[0]),
                limit=query.limit + 1,
                action_id=query.action_id,
                model_version=query.model_version,
                since=query.since,
                until=query.until,
            )
        return page_of(rows, query.limit, experience_of, lambda row: [row.experience.sequence])

    return answered(await asyncio.to_thread(read))


def _refuse_impossible(decision_id: str) -> None:
    if ID.fullmatch(decision_id) is None:
        raise _unknown_decision()


def _unknown_decision() -> Problem:
    return Problem(ProblemType.UNKNOWN_DECISION, "It may not have been read from the log yet.", "decision_id")
