"""Rollouts: started, led, read; and who moved which alias."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import Page
from services.gateway.bodies import ID, RolloutPlanRequest, RolloutRequest
from services.gateway.documentation import operation, responses
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parsing import read_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.rollout_answers import (
    AliasMoveAnswer,
    RolloutAnswer,
    RolloutDetail,
    RolloutPlanAnswer,
    detail_of,
    move_answer,
    plan_answer,
    rollout_answer,
)
from services.gateway.rollouts import Verb
from services.gateway.routing import ApiRoute, answered, caller_of, loop_of, parts_of

router = APIRouter(route_class=ApiRoute, tags=["rollouts"])


@router.post(
    "/v1/loops/{loop_id}/rollouts",
    status_code=201,
    summary="Start a rollout",
    responses=responses(RolloutAnswer, 201, "Begun"),
    openapi_extra=operation(body=RolloutRequest, example={"model_version": "7", "strategy": "progressive"}),
)
async def start_rollout(request: Request, loop_id: str) -> Response:
    """Of a version that is ready. `immediate` makes it the champion at once, within two seconds on every replica; the
    others lead it there step by step, and roll it back if it does worse. What is left out is as in the loop's
    `rollout`."""
    loop = loop_of(request, loop_id).loop
    body = validated(RolloutRequest, RolloutRequest.over(loop.settings.rollout, await read_json(request)))
    rollout = await asyncio.to_thread(parts_of(request).rollouts.start, caller_of(request), loop, body)
    return answered(rollout_answer(rollout), 201)


@router.post(
    "/v1/loops/{loop_id}/rollouts:plan",
    summary="Plan a rollout",
    responses=responses(RolloutPlanAnswer),
    openapi_extra=operation(body=RolloutPlanRequest, example={"base_reward": 0.5, "lift": 0.2, "share": 0.1}),
)
async def plan_rollout(request: Request, loop_id: str) -> Response:
    """How many decisions it takes to see a difference, by the bound that judges rollouts and the loop's tolerance."""
    loop = loop_of(request, loop_id).loop
    body = validated(RolloutPlanRequest, await read_json(request))
    plan, base = await asyncio.to_thread(parts_of(request).rollouts.plan, loop, body)
    return answered(plan_answer(plan, base, body.lift, body.share))


@router.get(
    "/v1/loops/{loop_id}/rollouts",
    summary="List rollouts",
    responses=responses(Page[RolloutAnswer]),
    openapi_extra=operation(),
)
async def list_rollouts(request: Request, loop_id: str, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first."""
    loop = loop_of(request, loop_id).loop
    place = decode_cursor(query.cursor, str)
    before = None if place is None else str(place[0])
    rows = await asyncio.to_thread(parts_of(request).rollouts.read_page, loop, query.limit + 1, before)
    return answered(page_of(rows, query.limit, rollout_answer, lambda rollout: [rollout.rollout_id]))


@router.get(
    "/v1/loops/{loop_id}/rollouts/{rollout_id}",
    summary="Read a rollout",
    responses=responses(RolloutDetail),
    openapi_extra=operation(),
)
async def read_rollout(request: Request, loop_id: str, rollout_id: str) -> Response:
    """With what was last found, and every step with the figures that decided it."""
    loop = loop_of(request, loop_id).loop
    _refuse_malformed(rollout_id)
    return answered(detail_of(*await asyncio.to_thread(parts_of(request).rollouts.read, loop, rollout_id)))


@router.post(
    "/v1/loops/{loop_id}/rollouts/{rollout_id}/{verb}",
    summary="Pause, resume, promote or roll back",
    responses=responses(RolloutAnswer),
    openapi_extra=operation(),
)
async def lead_rollout(request: Request, loop_id: str, rollout_id: str, verb: Verb) -> Response:
    """`pause` keeps the shares as they are (guardrails go on to act), `resume` goes on. `promote` makes the version the
    champion, `rollback` gives all decisions back to the champion: of a rollout that was promoted, to the one before, as
    long as its version still is the champion. Both act within two seconds on every replica."""
    loop = loop_of(request, loop_id).loop
    _refuse_malformed(rollout_id)
    lead = parts_of(request).rollouts.lead
    rollout = await asyncio.to_thread(lead, caller_of(request), loop, rollout_id, verb)
    return answered(rollout_answer(rollout))


@router.get(
    "/v1/loops/{loop_id}/aliases",
    summary="Who moved which alias",
    responses=responses(Page[AliasMoveAnswer]),
    openapi_extra=operation(),
)
async def list_alias_moves(request: Request, loop_id: str, query: Annotated[PageQuery, Query()]) -> Response:
    """The history of the loop's aliases, newest first; which version each names now stands in the loop."""
    loop = loop_of(request, loop_id).loop
    place = decode_cursor(query.cursor, int)
    before = None if place is None else int(place[0])
    moves = await asyncio.to_thread(parts_of(request).rollouts.read_moves, loop, query.limit + 1, before)
    return answered(page_of(moves, query.limit, move_answer, lambda move: [move.epoch]))


def _refuse_malformed(rollout_id: str) -> None:
    if not ID.fullmatch(rollout_id):
        raise Problem(ProblemType.UNKNOWN_ROLLOUT, "The loop has no rollout of this id.", "rollout_id")
