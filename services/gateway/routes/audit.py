"""The audit log: one entry for each call that changed something."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.gateway.answers import AuditAnswer, Page
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.pages import PageQuery, decode_cursor, page_of
from services.gateway.repository import AuditEntry, read_audit
from services.gateway.routing import ApiRoute, answered, caller_of, parts_of
from shared.db.engine import read_session

router = APIRouter(route_class=ApiRoute, tags=["audit"])


@router.get(
    "/v1/audit", summary="List the audit log", responses=responses(Page[AuditAnswer]), openapi_extra=operation()
)
async def list_audit(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    """Newest first: which key changed which loop, key, media or training run of the tenant, and when."""
    tenant, engine = caller_of(request).tenant, parts_of(request).engine
    place = decode_cursor(query.cursor, str)

    def read() -> Page[AuditAnswer]:
        with read_session(engine) as session:
            entries = read_audit(session, tenant, query.limit + 1, None if place is None else str(place[0]))
        return page_of(entries, query.limit, _answer, lambda entry: [entry.audit_id])

    return answered(await asyncio.to_thread(read))


def _answer(entry: AuditEntry) -> AuditAnswer:
    return AuditAnswer(
        audit_id=entry.audit_id, at=iso(entry.at), key_id=entry.key_id, verb=entry.verb, object=entry.object
    )
