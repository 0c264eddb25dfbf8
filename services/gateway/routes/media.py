"""Media: big bytes sent once, and referred to after."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from services.gateway.answers import MediaAnswer
from services.gateway.documentation import operation, responses
from services.gateway.media import READERS, checked_media
from services.gateway.parsing import read_body
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import DirectRoute, answered, caller_of, parts_of

router = APIRouter(route_class=DirectRoute, tags=["media"])

# The bytes are a stranger's: no browser shall take them for a page.
HARMLESS: Final = {
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


@router.post(
    "/v1/media",
    status_code=201,
    summary="Store media",
    responses=responses(MediaAnswer, 201, "Durable"),
    openapi_extra=operation("decide", {"type": "string", "format": "binary"}, content_type="*/*"),
)
async def store_media(request: Request) -> Response:
    """Raw bytes of a picture, a sound, a clip or a text, with their `Content-Type`; a context refers to them as
    `{"media_id": …}`. At most 8 MiB."""
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition("/")[0].strip().lower()
    if kind not in READERS:
        raise Problem(ProblemType.UNSUPPORTED_CONTENT_TYPE, "Send image/…, audio/…, video/… or text/plain.")
    media = checked_media(kind, await read_body(request), content_type, None)
    assert media.data is not None
    await parts_of(request).storage.put_media(caller_of(request), media)
    answer = MediaAnswer(media_id=media.sha256, content_type=media.content_type, size=len(media.data))
    return answered(answer, 201)


@router.get(
    "/v1/media/{media_id}",
    summary="Read media",
    responses={**responses(None), 200: {"description": "The bytes", "content": {"*/*": {}}}},
    openapi_extra=operation(),
)
async def read_media(request: Request, media_id: str) -> Response:
    """The bytes as they were stored."""
    storage = parts_of(request).storage
    content_type = (await storage.media_types(caller_of(request).tenant, [media_id])).get(media_id)
    if content_type is None:
        raise Problem(ProblemType.NOT_FOUND, "The tenant has stored no such media.", "media_id")
    data = await asyncio.to_thread(storage.read, media_id)
    return Response(data, media_type=content_type, headers=HARMLESS)
