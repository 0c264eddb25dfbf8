"""Feedback over HTTP: what is logged of it."""

import httpx

from shared.domain import Feedback
from shared.events import FEEDBACK
from tests.unit.services.gateway.fakes import START, Gateway

URL = "/v1/loops/shoes/feedback"


def events(gateway: Gateway) -> list[Feedback]:
    return [event for event in gateway.log.events(FEEDBACK) if isinstance(event, Feedback)]


async def test_an_event_is_durable_before_it_is_accepted(gateway: Gateway, http: httpx.AsyncClient) -> None:
    body = {
        "decision_id": "d-1",
        "feedback_id": "f-1",
        "metric": "dwell",
        "value": 2.5,
        "occurred_at": "2025-11-23T13:13:20.000001+01:00",
    }
    answer = await http.post(URL, json=body)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "feedback_ids": ["f-1"]})
    (event,) = events(gateway)
    assert event == Feedback("default", "shoes", "f-1", "d-1", "dwell", 2.5, event.received_at, occurred_at=START + 1)
    assert START < event.received_at <= gateway.clock.now


async def test_a_text_is_taken_by_a_metric_with_a_scorer(gateway: Gateway, http: httpx.AsyncClient) -> None:
    body = {"decision_id": "d-1", "feedback_id": "f-1", "metric": "caption", "value": "A red shoe."}
    assert (await http.post(URL, json=body)).status_code == 202
    (event,) = events(gateway)
    assert event == Feedback("default", "shoes", "f-1", "d-1", "caption", "A red shoe.", event.received_at)


async def test_a_list_is_one_append(gateway: Gateway, http: httpx.AsyncClient) -> None:
    body = [{"decision_id": f"d-{index}", "metric": "click", "value": index % 2 == 0} for index in range(1000)]
    answer = (await http.post(URL, json=body)).raise_for_status().json()
    assert answer["accepted"] == 1000
    assert len(set(answer["feedback_ids"])) == 1000
    assert gateway.log.appends == [1000]
    assert [event.decision_id for event in events(gateway)] == [one["decision_id"] for one in body]
    assert [event.value for event in events(gateway)[:2]] == [1.0, 0.0]
    assert [event.feedback_id for event in events(gateway)] == answer["feedback_ids"]


async def test_what_is_not_durable_is_not_accepted(gateway: Gateway, http: httpx.AsyncClient) -> None:
    gateway.log.broken = True
    answer = await http.post(URL, json={"decision_id": "d-1", "metric": "click", "value": 1})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:rewardloop:problem:event-log-unavailable")
