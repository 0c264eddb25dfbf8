"""Off-policy evaluations: asked for, read, listed."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import EvaluationAnswer, Page
from services.gateway.bodies import ID, EvaluationRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso, maybe_iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parsing import read_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, caller_of, loop_of, parts_of
from shared.domain import Evaluation
from shared.evaluation.evaluation import EvaluationResult
from shared.evaluation.settings import EvaluationSettings

router = APIRouter(route_class=ApiRoute, tags=["evaluations"])

EXAMPLE: Final = {"target": "uniform", "estimators": ["ips", "snips"], "window": {"since": "2026-11-01T00:00:00Z"}}


@router.post(
    "/v1/loops/{loop_id}/evaluations",
    status_code=202,
    summary="Evaluate a policy off-policy",
    responses=responses(EvaluationAnswer, 202, "Asked for"),
    openapi_extra=operation(body=EvaluationRequest, example=EXAMPLE),
)
async def request_evaluation(request: Request, loop_id: str) -> Response:
    """What a policy would have earned on the logged decisions, with intervals and what stands against trusting them. It
    covers all that was acknowledged before this call, of which the matured decisions with a known propensity count."""
    loop = loop_of(request, loop_id).loop
    body = validated(EvaluationRequest, await read_json(request))
    evaluations = parts_of(request).evaluations
    evaluation = await asyncio.to_thread(evaluations.request, caller_of(request), loop, body.settings())
    return answered(_answer(evaluation), 202)


@router.get(
    "/v1/loops/{loop_id}/evaluations/{evaluation_id}",
    summary="Read an evaluation",
    responses=responses(EvaluationAnswer),
    openapi_extra=operation(),
)
async def read_evaluation(request: Request, loop_id: str, evaluation_id: str) -> Response:
    """How far it is, and once it `succeeded`, its result."""
    loop = loop_of(request, loop_id).loop
    evaluation = None
    if ID.fullmatch(evaluation_id):
        evaluation = await asyncio.to_thread(parts_of(request).evaluations.read, loop, evaluation_id)
    if evaluation is None:
        raise Problem(ProblemType.UNKNOWN_EVALUATION, "The loop has no evaluation of this id.", "evaluation_id")
    return answered(_answer(evaluation))


@router.get(
    "/v1/loops/{loop_id}/evaluations",
    summary="List evaluations",
    responses=responses(Page[EvaluationAnswer]),
    openapi_extra=operation(),
)
async def list_evaluations(request: Request, loop_id: str, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first."""
    loop = loop_of(request, loop_id).loop
    place = decode_cursor(query.cursor, str)
    before = None if place is None else str(place[0])
    found = await asyncio.to_thread(parts_of(request).evaluations.read_page, loop, query.limit + 1, before)
    return answered(page_of(found, query.limit, _answer, lambda one: [one.evaluation_id]))


def _answer(evaluation: Evaluation) -> EvaluationAnswer:
    settings = EvaluationSettings.model_validate(evaluation.settings)
    return EvaluationAnswer(
        evaluation_id=evaluation.evaluation_id,
        status=evaluation.status,
        target=settings.target,
        estimators=list(settings.estimators),
        since=maybe_iso(settings.since),
        until=maybe_iso(settings.until),
        clip=settings.clip,
        requested_at=iso(evaluation.requested_at),
        started_at=maybe_iso(evaluation.started_at),
        finished_at=maybe_iso(evaluation.finished_at),
        progress=evaluation.progress,
        result=None if evaluation.result is None else EvaluationResult.model_validate(evaluation.result),
        detail=evaluation.detail,
    )
