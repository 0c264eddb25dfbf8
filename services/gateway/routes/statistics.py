"""Statistics of a loop."""

import asyncio

from fastapi import APIRouter, Request, Response

from services.gateway.documentation import operation, responses
from services.gateway.routing import ApiRoute, answered, loop_of, parts_of
from services.gateway.statistics import StatisticsAnswer, read_statistics

router = APIRouter(route_class=ApiRoute, tags=["statistics"])


@router.get(
    "/v1/loops/{loop_id}/statistics",
    summary="Read statistics",
    responses=responses(StatisticsAnswer),
    openapi_extra=operation(),
)
async def read_loop_statistics(request: Request, loop_id: str) -> Response:
    """Counts of events, and the joined reward: in all, by model version, and along the experiences."""
    loop, parts = loop_of(request, loop_id).loop, parts_of(request)
    head_sequence = await parts.serving.head_sequence(loop)
    return answered(await asyncio.to_thread(read_statistics, parts.engine, parts.event_log, loop, head_sequence))
