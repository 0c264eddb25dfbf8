"""Training runs: asked for, read, listed."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import Page, TrainingRunAnswer
from services.gateway.bodies import ID, TrainingRunRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso, maybe_iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parsing import read_optional_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, caller_of, loop_of, parts_of
from services.gateway.stored import version_name
from shared.domain import TrainingRun

router = APIRouter(route_class=ApiRoute, tags=["training runs"])


@router.post(
    "/v1/loops/{loop_id}/training-runs",
    status_code=202,
    summary="Fine-tune now",
    responses=responses(TrainingRunAnswer, 202, "Asked for"),
    openapi_extra=operation(body=TrainingRunRequest, required=False),
)
async def request_training_run(request: Request, loop_id: str) -> Response:
    """The run covers all feedback acknowledged before this call. One that is queued and has not started is taken."""
    loop = loop_of(request, loop_id).loop
    validated(TrainingRunRequest, await read_optional_json(request))
    run = await asyncio.to_thread(parts_of(request).training.request, caller_of(request), loop)
    return answered(_answer(run), 202)


@router.get(
    "/v1/loops/{loop_id}/training-runs/{training_run_id}",
    summary="Read a training run",
    responses=responses(TrainingRunAnswer),
    openapi_extra=operation(),
)
async def read_training_run(request: Request, loop_id: str, training_run_id: str) -> Response:
    """It has `succeeded` once its version serves; it was `skipped` where there was nothing to learn from, or where the
    version was turned down; `detail` says which."""
    loop = loop_of(request, loop_id).loop
    run = None
    if ID.fullmatch(training_run_id):
        run = await asyncio.to_thread(parts_of(request).training.read, loop, training_run_id)
    if run is None:
        raise Problem(ProblemType.UNKNOWN_TRAINING_RUN, "The loop has no run of this id.", "training_run_id")
    return answered(_answer(run))


@router.get(
    "/v1/loops/{loop_id}/training-runs",
    summary="List training runs",
    responses=responses(Page[TrainingRunAnswer]),
    openapi_extra=operation(),
)
async def list_training_runs(request: Request, loop_id: str, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first."""
    loop = loop_of(request, loop_id).loop
    place = decode_cursor(query.cursor, str)
    before = None if place is None else str(place[0])
    runs = await asyncio.to_thread(parts_of(request).training.read_page, loop, query.limit + 1, before)
    return answered(page_of(runs, query.limit, _answer, lambda run: [run.training_run_id]))


def _answer(run: TrainingRun) -> TrainingRunAnswer:
    return TrainingRunAnswer(
        training_run_id=run.training_run_id,
        kind=run.kind,
        reason=run.reason,
        status=run.status,
        requested_at=iso(run.requested_at),
        started_at=maybe_iso(run.started_at),
        finished_at=maybe_iso(run.finished_at),
        progress=run.progress,
        loss=run.loss,
        steps=run.steps,
        model_version=version_name(run.version),
        detail=run.detail,
    )
