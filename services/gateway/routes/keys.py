"""Keys of the caller's tenant: listed, made, revoked."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway import repository
from services.gateway.answers import KeyAnswer, NewKeyAnswer, Page
from services.gateway.bodies import KeyRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso, maybe_iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.parsing import read_json, validated
from services.gateway.parts import Parts
from services.gateway.problems import Problem, ProblemType
from services.gateway.routing import ApiRoute, answered, caller_of, parts_of
from shared.db.engine import read_session, write_session
from shared.security import ApiKey, Role, key_digest, new_key

router = APIRouter(route_class=ApiRoute, tags=["keys"])


@router.get("/v1/keys", summary="List keys", responses=responses(Page[KeyAnswer]), openapi_extra=operation())
async def list_keys(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """In order of creation, revoked ones too; the keys themselves are not kept."""
    tenant, engine = caller_of(request).tenant, parts_of(request).engine
    place = decode_cursor(query.cursor, str)

    def read() -> Page[KeyAnswer]:
        with read_session(engine) as session:
            keys = repository.read_keys(session)
        own = [key for key in keys if key.tenant == tenant and (place is None or key.key_id > str(place[0]))]
        return page_of(own, query.limit, lambda key: KeyAnswer(**_members(key)), lambda key: [key.key_id])

    return answered(await asyncio.to_thread(read))


@router.get(
    "/v1/keys/current",
    summary="Read the key that calls",
    responses=responses(KeyAnswer),
    openapi_extra=operation("any"),
)
async def read_current_key(request: Request) -> Response:
    """Its role says what else it may do: the one call that every key is allowed."""
    return answered(KeyAnswer(**_members(caller_of(request))))


@router.post(
    "/v1/keys",
    status_code=201,
    summary="Make a key",
    responses=responses(NewKeyAnswer, 201, "Made"),
    openapi_extra=operation(body=KeyRequest, example={"role": "decide"}),
)
async def make_key(request: Request) -> Response:
    """The answer shows the key, this once."""
    asked = validated(KeyRequest, await read_json(request))
    key = new_key()
    made = await asyncio.to_thread(_make, parts_of(request), caller_of(request), asked.role, key)
    return answered(NewKeyAnswer(**_members(made), key=key), 201)


@router.delete(
    "/v1/keys/{key_id}",
    status_code=204,
    summary="Revoke a key",
    responses=responses(None, 204, "Revoked"),
    openapi_extra=operation(),
)
async def revoke_key(request: Request, key_id: str) -> Response:
    """It lets nobody in any more, here at once and elsewhere within a second. The last manage key stays."""
    await asyncio.to_thread(_revoke, parts_of(request), caller_of(request), key_id)
    return Response(status_code=204)


def _make(parts: Parts, caller: ApiKey, role: Role, key: str) -> ApiKey:
    now = parts.clock()
    with write_session(parts.engine) as session:
        made = repository.add_key(session, caller.tenant, role, key_digest(key), now)
        repository.add_audit(session, caller.tenant, caller.key_id, "create", f"keys/{made.key_id}", now)
    parts.directory.refresh()
    return made


def _revoke(parts: Parts, caller: ApiKey, key_id: str) -> None:
    now = parts.clock()
    with write_session(parts.engine) as session:
        own = {key.key_id: key for key in repository.read_keys(session, lock=True) if key.tenant == caller.tenant}
        if key_id not in own:
            raise Problem(ProblemType.UNKNOWN_KEY_ID, "The tenant has no key of this id.", "key_id")
        live = {key.key_id for key in own.values() if key.role == "manage" and key.revoked_at is None}
        if live == {key_id}:
            raise Problem(ProblemType.LAST_MANAGE_KEY, "Make another one first.", "key_id")
        repository.revoke_key(session, caller.tenant, key_id, now)
        repository.add_audit(session, caller.tenant, caller.key_id, "revoke", f"keys/{key_id}", now)
    parts.directory.refresh()


def _members(key: ApiKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "role": key.role,
        "created_at": iso(key.created_at),
        "revoked_at": maybe_iso(key.revoked_at),
    }
