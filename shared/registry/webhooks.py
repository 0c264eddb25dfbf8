"""Webhooks: addresses that are told of every step of a tenant's rollouts, and what waits to be delivered to them."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from shared.db.tables import WebhookDeliveryRow, WebhookRow
from shared.rollouts import RolloutEvent, RolloutRef

# As Standard Webhooks writes a secret of 256 bits.
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - it is public
SECRET_BYTES: Final = 32
SECOND: Final = 1_000_000
# Until the next attempt, after the first, the second, … has failed; after the last it is given up.
RETRY_SECONDS: Final = (5, 30, 300, 1800, 7200, 18_000, 36_000)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to, and what signs; the secret is told once."""

    webhook_id: str
    url: str
    secret: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is due, and whom it is for."""

    key: tuple[str, str, str]
    url: str
    secret: str
    payload: str

    @property
    def message_id(self) -> str:
        """The same at every attempt, so that the receiver knows a repeat."""
        return self.key[2]


def add_webhook(session: Session, tenant: str, url: str, now: int) -> Webhook:
    secret = SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    row = WebhookRow(tenant=tenant, webhook_id=str(uuid7()), url=url, secret=secret, created_at=now)
    session.add(row)
    return Webhook(row.webhook_id, url, secret, now)


def read_webhooks(session: Session, tenant: str) -> list[Webhook]:
    """In order of creation."""
    query = select(WebhookRow).where(WebhookRow.tenant == tenant).order_by(WebhookRow.webhook_id)
    return [Webhook(row.webhook_id, row.url, row.secret, row.created_at) for row in session.scalars(query)]


def delete_webhook(session: Session, tenant: str, webhook_id: str) -> bool:
    """False where there is none; what waits for it is never sent."""
    row = session.get(WebhookRow, (tenant, webhook_id))
    if row is not None:
        session.delete(row)
    return row is not None


def tell_webhooks(session: Session, rollout: RolloutRef, version: int, event: RolloutEvent) -> None:
    """Leaves a message for each of the tenant's webhooks, in the transaction of what it tells."""
    data = {
        "loop_id": rollout.loop_id,
        "rollout_id": rollout.rollout_id,
        "model_version": str(version),
        **{name: value for name, value in asdict(event).items() if name not in ("at", "kind")},
    }
    moment = datetime.fromtimestamp(event.at / SECOND, UTC).isoformat()
    payload = json.dumps({"type": f"rollout.{event.kind}", "timestamp": moment, "data": data})
    for webhook in read_webhooks(session, rollout.tenant):
        session.add(
            WebhookDeliveryRow(
                tenant=rollout.tenant,
                loop_id=rollout.loop_id,
                delivery_id=f"msg_{uuid7()}",
                webhook_id=webhook.webhook_id,
                payload=payload,
                created_at=event.at,
                attempts=0,
                next_at=event.at,
            )
        )


def due_deliveries(session: Session, now: int, limit: int) -> list[Delivery]:
    """Oldest first."""
    of = WebhookDeliveryRow
    its_webhook = and_(WebhookRow.tenant == of.tenant, WebhookRow.webhook_id == of.webhook_id)
    query = (
        select(of.tenant, of.loop_id, of.delivery_id, WebhookRow.url, WebhookRow.secret, of.payload)
        .join(WebhookRow, its_webhook)
        .where(of.next_at <= now)
        .order_by(of.next_at, of.delivery_id)
        .limit(limit)
    )
    return [Delivery((tenant, loop, name), *rest) for tenant, loop, name, *rest in session.execute(query)]


def note_attempt(session: Session, delivery: Delivery, now: int, taken: bool) -> None:
    """It is done, or is tried again later, or was tried often enough."""
    row = session.get(WebhookDeliveryRow, delivery.key, with_for_update=True)
    if row is not None:
        row.attempts += 1
        retries = RETRY_SECONDS[row.attempts - 1 : row.attempts]
        row.next_at = None if taken or not retries else now + retries[0] * SECOND
