"""Feedback: taken, and learned from later."""

from typing import Final

from fastapi import APIRouter, Request, Response

from services.gateway.answers import FeedbackAnswer
from services.gateway.bodies import MAX_FEEDBACK, FeedbackRequest
from services.gateway.documentation import REFERENCE, operation, responses
from services.gateway.formats import PACKED, read_sent
from services.gateway.routing import DirectRoute, answered, loop_of, parts_of

router = APIRouter(route_class=DirectRoute, tags=["feedback"])

EVENT: Final = {"$ref": REFERENCE.format(model=FeedbackRequest.__name__)}
ONE_OR_MANY: Final = {"oneOf": [EVENT, {"type": "array", "items": EVENT, "minItems": 1, "maxItems": MAX_FEEDBACK}]}
EXAMPLE: Final = {"decision_id": "0198f0c2-8a6b-7c31-9d5e-2f4b6a8c0e12", "metric": "click", "value": 1}


@router.post(
    "/v1/loops/{loop_id}/feedback",
    status_code=202,
    summary="Send feedback",
    responses=responses(FeedbackAnswer, 202, "Durable"),
    openapi_extra=operation("feedback", ONE_OR_MANY, example=EXAMPLE, also=PACKED),
)
async def send_feedback(request: Request, loop_id: str) -> Response:
    """One event, or a list of up to 1,000: all are taken, or none where one is not valid.

    Feedback may come before its decision, late, twice (under one `feedback_id` it counts once), or for a decision that
    nobody made (it is counted as dangling).
    """
    loop = loop_of(request, loop_id).loop
    raw, form = await read_sent(request)
    ids = await parts_of(request).feedback.take(loop, form.parse(raw))
    return answered({"accepted": len(ids), "feedback_ids": ids}, 202)
