"""Experiences of another system, taken in line by line."""

from typing import Final, get_args

from fastapi import APIRouter, Request, Response

from services.gateway.answers import ImportAnswer
from services.gateway.bodies import ImportedRow
from services.gateway.documentation import operation, responses
from services.gateway.importing import LineFormat
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import DirectRoute, answered, caller_of, loop_of, parts_of

router = APIRouter(route_class=DirectRoute, tags=["decisions"])

NDJSON: Final = "application/x-ndjson"
CONTENT_TYPES: Final = frozenset({NDJSON, "application/ndjson", "application/jsonl", "application/octet-stream", ""})
FORMATS: Final[tuple[LineFormat, ...]] = get_args(LineFormat)
FORMAT: Final = {
    "name": "format",
    "in": "query",
    "schema": {"type": "string", "enum": list(FORMATS), "default": FORMATS[0]},
    "description": "`dsjson`: lines of a VW or Personalizer log.",
}
EXAMPLE: Final = {
    "decision_id": "old-1",
    "time": "2026-11-23T14:05:00Z",
    "context": {"title": "Red shoe"},
    "action_id": "a",
    "probability": 0.5,
    "reward": 1.0,
}


@router.post(
    "/v1/loops/{loop_id}/experiences:import",
    summary="Import experiences",
    responses=responses(ImportAnswer),
    openapi_extra=operation("manage", ImportedRow, content_type=NDJSON, example=EXAMPLE) | {"parameters": [FORMAT]},
)
async def import_experiences(request: Request, loop_id: str) -> Response:
    """Takes decisions of another system with what came of them: newline-delimited JSON of any length, the schema
    is that of one line, which has at most 8 MiB. The answer means that what it calls accepted is durable.

    A line that is not valid is told with its reason (the first thousand are), and the rest is taken all the same. A
    `decision_id` counts once: sending the lines again does no harm, and they are `duplicates` as soon as the joiner has
    read them. A row closes at once, by its reward or its feedback. Without a probability it teaches, but never has part
    in an evaluation.

    With `format=dsjson` the lines are events of Vowpal Wabbit or Azure Personalizer, with their probabilities: what was
    never shown (`_skipLearn`), an observation without its decision, and what cannot be read is told.
    """
    served = loop_of(request, loop_id)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise Problem(ProblemType.UNSUPPORTED_CONTENT_TYPE, f"Send `Content-Type: {NDJSON}`.")
    line_format = request.query_params.get("format", FORMATS[0])
    if line_format not in FORMATS:
        raise Problem(ProblemType.INVALID_FIELD, f"It is one of {', '.join(FORMATS)}.", "format")
    importer = parts_of(request).importer
    report = await importer.take(caller_of(request), served, request.stream(), line_format)
    return answered(report.body())
