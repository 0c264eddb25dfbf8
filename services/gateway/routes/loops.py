"""Loops: create, change, read, delete."""

import asyncio
import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import LoopAnswer, Page
from services.gateway.bodies import FreezeRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.pages import PageQuery, decode_cursor, encode_cursor
from services.gateway.parsing import read_json, read_optional_json, validated
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, caller_of, loop_of, parts_of
from shared.domain import NAME_PATTERN
from shared.loop_settings import Loop, LoopSettings

router = APIRouter(route_class=ApiRoute, tags=["loops"])

NAME: Final = re.compile(NAME_PATTERN)
# What GET adds to the settings: it may be sent back with them.
READ_ONLY: Final = LoopAnswer.model_fields.keys() - LoopSettings.model_fields.keys()
EXAMPLE: Final = {
    "modalities": {"photo": {"kind": "image"}, "title": {"kind": "text"}, "user": {"kind": "tabular"}},
    "actions": [{"id": "a"}, {"id": "b", "features": {"price": 10}}],
    "reward": {"metrics": {"click": {"weight": 1.0}}},
    "reward_wait_time": "PT10M",
}


@router.put(
    "/v1/loops/{loop_id}",
    summary="Create or change a loop",
    responses=responses(LoopAnswer, 200, "Changed, or as it was") | {201: {"model": LoopAnswer, "description": "New"}},
    openapi_extra=operation(body=LoopSettings, example=EXAMPLE),
)
async def put_loop(request: Request, loop_id: str) -> Response:
    """Every field has a default: `{"modalities": …}` alone makes a working loop.

    A new loop is answered once its first model version can decide, or cannot be made, or after thirty seconds: until
    then decisions are drawn evenly, and learned from. Its training runs tell what is wrong, and asking for another
    (`POST …/training-runs`) tries again.
    Exploration and reward act within two seconds; fusion and learning act with the next model version. The
    `settings_revision` grows only where something changed.
    """
    parts = parts_of(request)
    if NAME.fullmatch(loop_id) is None:
        raise Problem(ProblemType.INVALID_FIELD, f"A loop's name matches {NAME_PATTERN}.", "loop_id")
    body = await read_json(request)
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in READ_ONLY}
    settings = validated(LoopSettings, body)
    loop, created = await asyncio.to_thread(parts.loops.put, caller_of(request), loop_id, settings)
    if created:
        await parts.serving.wait_for_version(loop, parts.first_version_timeout, parts.loops.has_failed)
    return answered(_answer(request, loop), 201 if created else 200)


@router.get("/v1/loops/{loop_id}", summary="Read a loop", responses=responses(LoopAnswer), openapi_extra=operation())
async def read_loop(request: Request, loop_id: str) -> Response:
    """The settings with every default filled in, their revision, and which model version each alias names."""
    return answered(_answer(request, loop_of(request, loop_id).loop))


@router.get("/v1/loops", summary="List the loops", responses=responses(Page[LoopAnswer]), openapi_extra=operation())
async def list_loops(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """In order of their ids."""
    after = decode_cursor(query.cursor, str)
    loops = parts_of(request).directory.loops(caller_of(request).tenant)
    if after is not None:
        loops = [loop for loop in loops if loop.loop_id > str(after[0])]
    shown = loops[: query.limit]
    cursor = encode_cursor([shown[-1].loop_id]) if len(loops) > query.limit else None
    return answered({"items": [_answer(request, loop) for loop in shown], "next_cursor": cursor})


@router.delete(
    "/v1/loops/{loop_id}",
    status_code=204,
    summary="Delete a loop",
    responses=responses(None, 204, "Gone"),
    openapi_extra=operation(),
)
async def delete_loop(request: Request, loop_id: str) -> Response:
    """Deletes its decisions, feedback, experiences and model versions with it."""
    loop_of(request, loop_id)
    await asyncio.to_thread(parts_of(request).loops.delete, caller_of(request), loop_id)
    return Response(status_code=204)


@router.post(
    "/v1/loops/{loop_id}/freeze",
    summary="Freeze a loop",
    responses=responses(LoopAnswer),
    openapi_extra=operation(body=FreezeRequest, required=False, example={"serve": "baseline"}),
)
async def freeze_loop(request: Request, loop_id: str) -> Response:
    """The kill switch: nothing is learned until it is unfrozen, whatever `PUT` changes. Fine-tunes under way end as
    `skipped`. Decisions and feedback are logged and joined as ever, and learned from afterwards. Here it acts at once,
    at other gateways within a second."""
    loop_of(request, loop_id)
    asked = validated(FreezeRequest, await read_optional_json(request))
    loop = await asyncio.to_thread(parts_of(request).loops.freeze, caller_of(request), loop_id, asked.serve)
    return answered(_answer(request, loop))


@router.post(
    "/v1/loops/{loop_id}/unfreeze",
    summary="Unfreeze a loop",
    responses=responses(LoopAnswer),
    openapi_extra=operation(),
)
async def unfreeze_loop(request: Request, loop_id: str) -> Response:
    """It learns again, from what came meanwhile too."""
    loop_of(request, loop_id)
    loop = await asyncio.to_thread(parts_of(request).loops.freeze, caller_of(request), loop_id, None)
    return answered(_answer(request, loop))


def _answer(request: Request, loop: Loop) -> dict[str, object]:
    aliases = parts_of(request).directory.aliases(loop.tenant, loop.loop_id)
    return loop.settings.model_dump(mode="json") | {
        "loop_id": loop.loop_id,
        "settings_revision": loop.settings_revision,
        "created_at": iso(loop.created_at),
        "frozen_to": loop.frozen_to,
        "aliases": {name: str(pointer.version) for name, pointer in aliases.items()},
    }
