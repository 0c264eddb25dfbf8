"""Statistics of a loop."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.documentation import operation, responses
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, loop_of, parts_of
from services.gateway.statistics import StatisticsAnswer, read_statistics

Segment = Annotated[
    str | None, Query(max_length=321, description="Fairness by this `<modality>.<field>` only.", examples=["user.age"])
]

router = APIRouter(route_class=ApiRoute, tags=["statistics"])


@router.get(
    "/v1/loops/{loop_id}/statistics",
    summary="Read statistics",
    responses=responses(StatisticsAnswer),
    openapi_extra=operation(),
)
async def read_loop_statistics(request: Request, loop_id: str, segment: Segment = None) -> Response:
    """Counts of events, and the joined reward: in all, by model version, and along the experiences. From the newest
    report: what the champion looks at, whether actions follow the state, and how segments are treated."""
    loop, parts = loop_of(request, loop_id).loop, parts_of(request)
    if segment is not None and segment not in loop.settings.fairness.segments:
        raise Problem(ProblemType.UNKNOWN_SEGMENT, "Name it in `fairness.segments` of the loop's settings.", "segment")
    head_sequence = await parts.serving.head_sequence(loop)
    spooled = {} if parts.spool is None else {topic: waits.events for topic, waits in parts.spool.spooled().items()}
    return answered(
        await asyncio.to_thread(read_statistics, parts.engine, parts.event_log, loop, head_sequence, segment, spooled)
    )
