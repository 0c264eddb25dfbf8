"""Delivers what waits for webhooks, signed by Standard Webhooks; a slow receiver holds up nobody else's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx
import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from standardwebhooks.webhooks import Webhook as Signer

from services.trainer.observing import ControlMetrics
from shared.db.engine import read_session, write_session
from shared.domain import Clock
from shared.registry.webhooks import SECOND, Delivery, due_deliveries, note_attempt

# At once; the rest waits for the next look.
MOST: Final = 32
POST_SECONDS: Final = 10.0

# Whether the receiver has taken the body with these headers.
Post = Callable[[str, bytes, Mapping[str, str]], bool]

log: Final = structlog.get_logger(__name__)


def post(url: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Sends it; a redirect is not followed, and counts as not taken."""
    try:
        return httpx.post(url, content=body, headers=dict(headers), timeout=POST_SECONDS).is_success
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.info("webhook_not_reached", error=type(error).__name__)
        return False


@dataclass(slots=True)
class Deliverer:
    """Sends what is due whenever it is told to look; `hand_over` calls a function with a delivery, in a thread."""

    engine: Engine
    clock: Clock
    post: Post
    hand_over: Callable[[Callable[[Delivery], None], Delivery], object]
    metrics: ControlMetrics = field(default_factory=lambda: ControlMetrics(CollectorRegistry()))
    _under_way: set[tuple[str, str, str]] = field(default_factory=set)

    def look(self) -> None:
        """Hands over what is due and not under way."""
        with read_session(self.engine) as session:
            due = due_deliveries(session, self.clock(), MOST)
        for delivery in due:
            if delivery.key not in self._under_way:
                self._under_way.add(delivery.key)
                self.hand_over(self._deliver, delivery)

    def _deliver(self, delivery: Delivery) -> None:
        try:
            taken = self.post(delivery.url, delivery.payload.encode(), self._headers(delivery))
            self.metrics.delivered(taken)
            with write_session(self.engine) as session:
                note_attempt(session, delivery, self.clock(), taken)
        except Exception:
            # Of one delivery: it is due still, and the next look tries it again.
            log.exception("webhook_not_delivered", delivery_id=delivery.message_id)
        finally:
            self._under_way.discard(delivery.key)

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        moment = datetime.fromtimestamp(self.clock() // SECOND, UTC)
        return {
            "content-type": "application/json",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Signer(delivery.secret).sign(delivery.message_id, moment, delivery.payload),
        }
