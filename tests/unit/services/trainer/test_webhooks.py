"""What webhooks get, held against the reference implementation of Standard Webhooks; retried until it is taken."""

import json
from collections.abc import Mapping

import pytest
from sqlalchemy import Engine
from standardwebhooks.webhooks import Webhook as Receiver

from services.trainer.webhooks import Deliverer
from shared.clocks import wall
from shared.db.engine import write_session
from shared.registry.rollouts import hold_rollout
from shared.registry.webhooks import RETRY_SECONDS, SECOND, add_webhook, delete_webhook, read_webhooks
from tests.unit.services.trainer.test_rollout_controller import Stage, stage

__all__ = ["stage"]

Message = tuple[str, bytes, Mapping[str, str]]


class Inbox:
    """A receiver; it takes nothing for so many times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.messages: list[Message] = []

    def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> bool:
        self.messages.append((url, body, headers))
        return len(self.messages) > self.refusals


def deliver(engine: Engine, inbox: Inbox, at: int) -> None:
    Deliverer(engine, lambda: at, inbox, lambda act, delivery: act(delivery)).look()


@pytest.fixture
def secret(stage: Stage) -> str:
    """Of a webhook that was told of one step."""
    with write_session(stage.engine) as session:
        made = add_webhook(session, "default", "https://example.com/hook", 0).secret
    with write_session(stage.engine) as session:
        add_webhook(session, "another", "https://example.com/another", 0)
        hold_rollout(session, stage.rollout.ref, "paused", wall(), "test")
    return made


def test_a_step_is_told_signed_and_once(stage: Stage, secret: str) -> None:
    inbox, now = Inbox(refusals=0), wall()
    deliver(stage.engine, inbox, now)
    deliver(stage.engine, inbox, now + 3600 * SECOND)
    [(url, body, headers)] = inbox.messages
    assert url == "https://example.com/hook"
    told = Receiver(secret).verify(body, dict(headers))
    assert (told["type"], told["data"]["loop_id"], told["data"]["model_version"]) == ("rollout.paused", "shoes", "2")
    with pytest.raises(Exception, match="No matching signature"):
        Receiver(secret).verify(body.replace(b"paused", b"closed"), dict(headers))


def test_what_is_not_taken_comes_again_with_growing_pauses_under_the_same_id(stage: Stage, secret: str) -> None:
    inbox, now = Inbox(refusals=2), wall()
    for pause in (0, RETRY_SECONDS[0] - 1, RETRY_SECONDS[0], *RETRY_SECONDS[1:3]):
        deliver(stage.engine, inbox, now + pause * SECOND)
    assert len(inbox.messages) == 3
    assert len({headers["webhook-id"] for _, _, headers in inbox.messages}) == 1
    assert {json.loads(body)["type"] for _, body, _ in inbox.messages} == {"rollout.paused"}


def test_it_is_given_up_in_the_end_and_never_sent_to_a_webhook_that_is_gone(stage: Stage, secret: str) -> None:
    inbox, now = Inbox(refusals=100), wall()
    for _ in range(len(RETRY_SECONDS) + 4):
        now += 2 * RETRY_SECONDS[-1] * SECOND
        deliver(stage.engine, inbox, now)
    assert len(inbox.messages) == len(RETRY_SECONDS) + 1
    with write_session(stage.engine) as session:
        hold_rollout(session, stage.rollout.ref, "running", now, "test")
        [webhook] = read_webhooks(session, "default")
        assert delete_webhook(session, "default", webhook.webhook_id)
    deliver(stage.engine, inbox, now)
    assert len(inbox.messages) == len(RETRY_SECONDS) + 1
