"""Webhooks of the caller's tenant: listed, made, deleted."""

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.gateway.answers import Answer, Moment, Page
from services.gateway.bodies import ID, WebhookRequest
from services.gateway.documentation import operation, responses
from services.gateway.moments import iso
from services.gateway.parsing import read_json, validated
from services.gateway.parts import Parts
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit
from services.gateway.routing import ApiRoute, answered, caller_of, parts_of
from shared.db.engine import read_session, write_session
from shared.registry.webhooks import Webhook, add_webhook, delete_webhook, read_webhooks
from shared.security import ApiKey

router = APIRouter(route_class=ApiRoute, tags=["webhooks"])


class WebhookAnswer(Answer):
    """An address that is told of every step of the tenant's rollouts."""

    webhook_id: str
    url: str
    created_at: Moment


class NewWebhookAnswer(WebhookAnswer):
    """A webhook that was just made: its secret is shown this once."""

    secret: str = Field(description="What messages are signed with, as Standard Webhooks has it.")


@router.get(
    "/v1/webhooks", summary="List webhooks", responses=responses(Page[WebhookAnswer]), openapi_extra=operation()
)
async def list_webhooks(request: Request) -> Response:
    """In order of creation, without their secrets."""
    tenant, engine = caller_of(request).tenant, parts_of(request).engine

    def read() -> Page[WebhookAnswer]:
        with read_session(engine) as session:
            items = [WebhookAnswer(**_members(webhook)) for webhook in read_webhooks(session, tenant)]
        return Page(items=items, next_cursor=None)

    return answered(await asyncio.to_thread(read))


@router.post(
    "/v1/webhooks",
    status_code=201,
    summary="Make a webhook",
    responses=responses(NewWebhookAnswer, 201, "Made"),
    openapi_extra=operation(body=WebhookRequest),
)
async def make_webhook(request: Request) -> Response:
    """It gets a POST for every step of the tenant's rollouts, signed by Standard Webhooks (`webhook-id`,
    `webhook-timestamp`, `webhook-signature`), and again with growing pauses until it answers 2xx. The answer shows the
    secret, this once."""
    asked = validated(WebhookRequest, await read_json(request))
    webhook = await asyncio.to_thread(_make, parts_of(request), caller_of(request), asked.url)
    return answered(NewWebhookAnswer(**_members(webhook), secret=webhook.secret), 201)


@router.delete(
    "/v1/webhooks/{webhook_id}",
    status_code=204,
    summary="Delete a webhook",
    responses=responses(None, 204, "Gone"),
    openapi_extra=operation(),
)
async def remove_webhook(request: Request, webhook_id: str) -> Response:
    """What waits for it is never sent."""
    if not ID.fullmatch(webhook_id):
        raise Problem(ProblemType.UNKNOWN_WEBHOOK, "The tenant has no webhook of this id.", "webhook_id")
    await asyncio.to_thread(_delete, parts_of(request), caller_of(request), webhook_id)
    return Response(status_code=204)


def _make(parts: Parts, caller: ApiKey, url: str) -> Webhook:
    now = parts.clock()
    with write_session(parts.engine) as session:
        webhook = add_webhook(session, caller.tenant, url, now)
        add_audit(session, caller.tenant, caller.key_id, "create", f"webhooks/{webhook.webhook_id}", now)
    return webhook


def _delete(parts: Parts, caller: ApiKey, webhook_id: str) -> None:
    with write_session(parts.engine) as session:
        if not delete_webhook(session, caller.tenant, webhook_id):
            raise Problem(ProblemType.UNKNOWN_WEBHOOK, "The tenant has no webhook of this id.", "webhook_id")
        add_audit(session, caller.tenant, caller.key_id, "delete", f"webhooks/{webhook_id}", parts.clock())


def _members(webhook: Webhook) -> dict[str, str]:
    return {"webhook_id": webhook.webhook_id, "url": webhook.url, "created_at": iso(webhook.created_at)}
