"""Episodes: ended by whoever runs them."""

from typing import Final

from fastapi import APIRouter, Request, Response

from services.gateway.answers import EpisodeEndAnswer
from services.gateway.bodies import ID, EpisodeEndRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.parsing import read_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import DirectRoute, answered, loop_of, parts_of
from shared.domain import EpisodeEnd
from shared.events import FEEDBACK, episode_end_record

router = APIRouter(route_class=DirectRoute, tags=["episodes"])

EXAMPLE: Final = {"end": "terminated", "decision_id": "0198f0c2-8a6b-7c31-9d5e-2f4b6a8c0e12"}


@router.post(
    "/v1/loops/{loop_id}/episodes/{episode_id}/end",
    status_code=202,
    summary="End an episode",
    responses=responses(EpisodeEndAnswer, 202, "Durable"),
    openapi_extra=operation("feedback", EpisodeEndRequest, example=EXAMPLE),
)
async def end_episode(request: Request, loop_id: str, episode_id: str) -> Response:
    """Says that nothing follows its last decision (`terminated`: that is worth 0), or that more would have followed
    but nobody will see it (`truncated`). The first end of an episode counts; repeating it changes nothing. Later than
    the loop's `episode_timeout` after that decision, every end is `truncated`.
    """
    loop = loop_of(request, loop_id).loop
    if loop.settings.problem_type != "episodic":
        raise Problem(ProblemType.NOT_EPISODIC, "Its `problem_type` is `cb`: change it to `episodic`.", "loop_id")
    if ID.fullmatch(episode_id) is None:
        raise Problem(ProblemType.INVALID_FIELD, f"An episode's id matches {ID.pattern}.", "episode_id")
    asked = validated(EpisodeEndRequest, await read_json(request))
    parts = parts_of(request)
    end = EpisodeEnd(loop.tenant, loop.loop_id, episode_id, asked.decision_id, asked.end, parts.clock())
    await parts.appender.append(FEEDBACK, [episode_end_record(end)])
    return answered({"episode_id": episode_id, "end": end.end, "ended_at": iso(end.ended_at)}, 202)
