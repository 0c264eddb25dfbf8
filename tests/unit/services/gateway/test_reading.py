"""What can be read back: decisions, experiences, statistics, model versions, health."""

import base64

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.gateway.statistics import StatisticsAnswer
from shared.db.engine import write_session
from shared.db.statistics import COUNT_NAMES
from shared.db.tables import (
    ConsumerOffsetRow,
    ExperienceRow,
    FeedbackRow,
    JoinerCountRow,
    LoopRow,
    RewardSumRow,
)
from shared.eventlog import EventLogError
from shared.events import DECISIONS
from tests.unit.services.gateway.fakes import START, Gateway
from tests.unit.services.gateway.test_deciding import as_base64, join, png

URL = "/v1/loops/shoes"


@pytest.fixture
async def decided(gateway: Gateway, http: httpx.AsyncClient) -> list[str]:
    """Five decisions, the first two by fallback, as the joiner has written them; the last one is an experience."""
    for number in range(5):
        if number == 2:
            await gateway.publish("shoes", 1)
        context = {"title": "x" * (40_000 if number == 4 else 1), "user": {"age": 31}, "vector": [1, 2, 3]}
        context |= {"photo": {"data": as_base64(png())}}
        body = {"decision_id": f"d-{number}", "context": context, "actions": [{"id": "a"}]}
        (await http.post(f"{URL}/decisions", json=body)).raise_for_status()
    join(gateway)
    key = {"tenant": "default", "loop_id": "shoes"}
    with write_session(gateway.ports.engine) as session:
        event = {"decision_id": "d-4", "metric": "click", "number": 1.0, "received_at": START, "late": False}
        session.add(FeedbackRow(**key, **event, feedback_id="f-1"))
        session.add(
            ExperienceRow(
                **key,
                sequence=1,
                decision_id="d-4",
                decided_at=START,
                closed_at=START + 1,
                closed_by="feedback",
                action_id="a",
                probability=1.0,
                reward=1.0,
                model_version=1,
            )
        )
        session.add(JoinerCountRow(**key, name="decisions", count=5))
        session.add(
            RewardSumRow(
                **key,
                chunk=0,
                model_version=1,
                experiences=1,
                closed_by_timeout=1,
                reward_sum=1.0,
                reward_square_sum=1.0,
                last_decided_at=START,
            )
        )
        session.add(ConsumerOffsetRow(consumer="joiner", topic=DECISIONS, partition=0, offset=3, epoch=1))
        session.get_one(LoopRow, ("default", "shoes")).last_sequence = 1
    return [f"d-{number}" for number in range(5)]


async def test_a_decision_is_read_with_all_that_came_of_it(http: httpx.AsyncClient, decided: list[str]) -> None:
    made = (await http.get(f"{URL}/decisions/d-4")).raise_for_status().json()
    assert made["context"]["title"] == "x" * 40_000
    assert made["context"]["user"] == {"age": 31.0}
    assert made["context"]["vector"] == [1.0, 2.0, 3.0]
    assert base64.b64decode(made["context"]["photo"]["data"]) == png()
    assert (made["reward"], made["sequence"], made["action_id"]) == (1.0, 1, "a")
    assert [(event["metric"], event["value"], event["late"]) for event in made["feedback"]] == [("click", 1.0, False)]
    assert made["ranking"][0]["expected_reward"] == 0
    earlier = (await http.get(f"{URL}/decisions/d-0")).raise_for_status().json()
    assert (earlier["reward"], earlier["feedback"], earlier["model_version"]) == (None, [], None)


async def test_an_open_window_shows_what_has_come_and_what_it_comes_to(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    for decision_id, context in (("bare", {"title": "x"}), ("whole", {"photo": {"data": as_base64(png())}})):
        body = {"decision_id": decision_id, "context": context}
        (await http.post(f"{URL}/decisions", json=body)).raise_for_status()
    join(gateway)
    with write_session(gateway.ports.engine) as session:
        for decision_id in ("bare", "whole"):
            for number, (metric, value, late) in enumerate([("dwell", 4.0, False), ("click", 1.0, True)]):
                session.add(
                    FeedbackRow(
                        tenant="default",
                        loop_id="shoes",
                        feedback_id=f"{decision_id}-{number}",
                        decision_id=decision_id,
                        metric=metric,
                        number=value,
                        received_at=START,
                        late=late,
                    )
                )
    seen = (await http.get(f"{URL}/decisions/whole")).raise_for_status().json()
    assert [(event["metric"], event["late"]) for event in seen["feedback"]] == [("dwell", False), ("click", True)]
    assert (seen["reward"], seen["sequence"]) == (2.0, None)
    # There was no photo that its dwell time could be about.
    assert (await http.get(f"{URL}/decisions/bare")).raise_for_status().json()["reward"] is None


async def test_decisions_are_listed_part_by_part_newest_first(http: httpx.AsyncClient, decided: list[str]) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await http.get(f"{URL}/decisions", params=query)).raise_for_status().json()
        seen += [row["decision_id"] for row in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == decided[::-1]


async def test_decisions_are_filtered(http: httpx.AsyncClient, decided: list[str]) -> None:
    rows = (await http.get(f"{URL}/decisions")).json()["items"]
    moment = rows[1]["decided_at"]

    async def ids(**query: str) -> list[str]:
        found = (await http.get(f"{URL}/decisions", params=query)).raise_for_status().json()
        return [row["decision_id"] for row in found["items"]]

    assert await ids(since=moment) == ["d-4", "d-3"]
    assert await ids(until=moment) == ["d-2", "d-1", "d-0"]
    assert await ids(model_version="1") == ["d-4", "d-3", "d-2"]
    assert await ids(action_id="b") == []


async def test_experiences_are_listed(http: httpx.AsyncClient, decided: list[str]) -> None:
    page = (await http.get(f"{URL}/experiences")).raise_for_status().json()
    (row,) = page["items"]
    assert (row["sequence"], row["decision_id"], row["reward"]) == (1, "d-4", 1.0)
    assert (row["model_version"], row["closed_by"]) == ("1", "feedback")


async def test_statistics_tell_counts_rewards_and_lag(http: httpx.AsyncClient, decided: list[str]) -> None:
    told = (await http.get(f"{URL}/statistics")).raise_for_status().json()
    assert (told["decisions"], told["feedback"], told["experiences"], told["head_sequence"]) == (5, 0, 1, 1)
    assert told["joiner_lag"][DECISIONS] == 2
    assert told["reward"] == {"experiences": 1, "mean": 1.0, "interval": None, "closed_by_timeout": 1}
    assert told["reward_by_version"] == [told["reward"] | {"model_version": "1"}]
    (bucket,) = told["reward_curve"]
    assert (bucket["first_sequence"], bucket["count"], bucket["model_version"]) == (1, 1, "1")
    assert bucket["interval"] is None
    # Two metrics: nobody promised feedback for every decision.
    assert told["warnings"] == []


def test_every_count_of_the_joiner_is_told() -> None:
    assert set(COUNT_NAMES) <= StatisticsAnswer.model_fields.keys()


async def test_model_versions_are_told_with_their_lineage(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    await gateway.publish("shoes", 2)
    newest = (await http.get(f"{URL}/models", params={"limit": 1})).raise_for_status().json()
    assert [(one["version"], one["parent"], one["aliases"]) for one in newest["items"]] == [("2", "1", ["champion"])]
    rest = (await http.get(f"{URL}/models", params={"cursor": newest["next_cursor"]})).json()
    assert [(one["version"], one["parent"], one["aliases"]) for one in rest["items"]] == [("1", None, [])]
    one = (await http.get(f"{URL}/models/2")).raise_for_status().json()
    assert one["metrics"] == {"loss": 0.5, "gate": "passed"}
    assert one["parts"] == {"encoding": {"sha256": "a" * 64, "bytes": None}}
    assert one["architecture"]["action_ids"] == ["a", "b", "c"]
    assert one["training_curve"] == [{"step": 20, "loss": 0.4, "learning_rate": 0.001}]


async def test_health_is_open_and_says_little(gateway: Gateway) -> None:
    async with gateway.client("") as stranger:
        assert (await stranger.get("/healthz")).json() == {"status": "ok"}
        ready = await stranger.get("/readyz")
        assert ready.json() == {
            "status": "ready",
            "services": {"encoding": True, "fusion": True, "policy": True},
        }


async def test_metrics_have_bounded_labels(gateway: Gateway, http: httpx.AsyncClient) -> None:
    for number in range(20):
        await http.post(f"{URL}/decisions", json={"decision_id": f"d-{number}"})
        await http.get(f"{URL}/decisions/d-{number}")
        await http.get(f"/v1/nowhere/{number}")
    told = (await http.get("/metrics")).text
    labels = {
        (name, value)
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        for name, value in sample.labels.items()
        if name != "le"
    }
    assert ("route", "/v1/loops/{loop_id}/decisions") in labels
    assert not any("d-1" in value or "shoes" in value or "nowhere" in value for _, value in labels)
    samples = {
        (sample.name, sample.labels.get("fallback_reason")): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert samples["rewardloop_gateway_decisions_total", "no_model_yet"] == 20


async def test_statistics_are_told_while_the_log_is_away(
    gateway: Gateway, http: httpx.AsyncClient, decided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(topic: str) -> dict[int, int]:
        raise EventLogError(f"log {topic}: no broker")

    monkeypatch.setattr(gateway.log, "ends", ends)
    told = (await http.get(f"{URL}/statistics")).raise_for_status().json()
    assert (told["decisions"], told["joiner_lag"], told["spooled"]) == (5, None, {})
