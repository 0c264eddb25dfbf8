"""Model services that fail, freeze, break their contract, or lack a version: what becomes of decisions."""

import asyncio
from collections.abc import Callable

import grpc
import httpx
import pytest

from services.gateway.model_services import STAGES, Stage
from shared.domain import ModelRef
from tests.unit.services.gateway.fakes import Gateway
from tests.unit.services.gateway.test_deciding import as_base64, decisions, png

URL = "/v1/loops/shoes/decisions"


async def versions(http: httpx.AsyncClient) -> list[str]:
    return [(await http.post(URL, json={"context": {"title": "x"}})).raise_for_status().json()["model_version"]]


@pytest.mark.parametrize("stage", ["encoding", "fusion", "policy"])
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_service_that_fails_costs_no_decision(
    gateway: Gateway, http: httpx.AsyncClient, stage: str, code: grpc.StatusCode
) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.failing[stage] = code  # type: ignore[index] # a stage
    decision = (await http.post(URL, json={"context": {"title": "x"}})).raise_for_status().json()
    assert decision["fallback_reason"] == "model_unavailable"
    assert decision["probability"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("stage", ["encoding", "fusion", "policy"])
async def test_a_frozen_service_is_waited_for_only_until_it_shows(
    gateway: Gateway, http: httpx.AsyncClient, stage: Stage
) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.frozen.add(stage)
    asked = [asyncio.create_task(http.post(URL, json={"context": {"title": "x"}})) for _ in range(3)]
    while stage not in gateway.models.calls:
        await asyncio.sleep(0)
    await gateway.catch_up()
    answers = [answer.raise_for_status().json() for answer in await asyncio.gather(*asked)]
    assert [answer["fallback_reason"] for answer in answers] == ["model_unavailable"] * 3


@pytest.mark.parametrize("stage", STAGES)
async def test_no_decision_waits_longer_than_its_deadline(
    make_gateway: Callable[..., Gateway], http: httpx.AsyncClient, stage: Stage
) -> None:
    gateway = make_gateway(decide_timeout=0.05)
    await gateway.publish("shoes", 1)
    gateway.models.frozen.add(stage)
    async with gateway.client() as client:
        answers = await asyncio.gather(*(client.post(URL, json={"baseline_action_id": "b"}) for _ in range(5)))
        told = [answer.raise_for_status().json() for answer in answers]
        assert {one["fallback_reason"] for one in told} == {"model_unavailable"}
        assert {(one["action_id"], one["probability"]) for one in told} == {("b", 1.0)}
        # Those that waited behind the calls under way are not sent after all.
        assert gateway.models.calls.count(stage) <= 2
        await gateway.catch_up()


async def test_more_than_may_wait_are_told_to_come_again(
    make_gateway: Callable[..., Gateway], http: httpx.AsyncClient
) -> None:
    gateway = make_gateway(most_waiting=2, decide_timeout=60)
    await gateway.publish("shoes", 1)
    gateway.models.frozen.add("encoding")
    async with gateway.client() as client:
        asked = []
        # Two batches of one are under way, and two decisions wait.
        for number in range(5):
            asked.append(asyncio.create_task(client.post(URL, json={"decision_id": f"d-{number}"})))
            while len(gateway.models.calls) < min(number + 1, 2) and not asked[-1].done():
                await asyncio.sleep(0)
        refused = await asked.pop()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["type"].endswith("overloaded")
        await gateway.catch_up()
        answers = [answer.raise_for_status().json() for answer in await asyncio.gather(*asked)]
        assert {answer["fallback_reason"] for answer in answers} == {"model_unavailable"}


async def test_a_service_that_went_is_not_called_until_it_is_back(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.failing["policy"] = grpc.StatusCode.UNAVAILABLE
    await http.post(URL, json={})
    called = len(gateway.models.calls)
    assert gateway.models.calls.count("policy") == 1
    assert (await http.post(URL, json={})).json()["fallback_reason"] == "model_unavailable"
    assert len(gateway.models.calls) == called
    gateway.models.failing.clear()
    await gateway.catch_up()
    assert await versions(http) == ["1"]


async def test_a_service_that_is_late_is_called_again(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.failing["encoding"] = grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await http.post(URL, json={})).json()["fallback_reason"] == "model_unavailable"
    gateway.models.failing.clear()
    assert await versions(http) == ["1"]


async def test_the_baseline_is_given_while_the_services_are_away(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.failing["fusion"] = grpc.StatusCode.UNAVAILABLE
    decision = (await http.post(URL, json={"baseline_action_id": "b"})).raise_for_status().json()
    assert (decision["action_id"], decision["probability"]) == ("b", 1.0)
    excluded = {"baseline_action_id": "b", "excluded_action_ids": ["b"]}
    decision = (await http.post(URL, json=excluded)).raise_for_status().json()
    assert decision["action_id"] in {"a", "c"}
    assert decision["probability"] == pytest.approx(1 / 2)


async def test_the_version_before_serves_while_the_champion_loads(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    await gateway.publish("shoes", 2, load=False)
    assert await versions(http) == ["1"]
    gateway.models.loaded["encoding"].add(ModelRef("default", "shoes", 2))
    await gateway.catch_up()
    assert await versions(http) == ["1"]
    gateway.models.load(ModelRef("default", "shoes", 2))
    await gateway.catch_up()
    assert await versions(http) == ["2"]


async def test_a_version_that_was_unloaded_is_replaced_by_the_champion(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    old = await gateway.publish("shoes", 1)
    new = await gateway.publish("shoes", 2, load=False)
    gateway.models.unloaded.add(old)
    decision = (await http.post(URL, json={"context": {"title": "x"}})).raise_for_status().json()
    assert decision["model_version"] == "2"
    gateway.models.unloaded.add(new)
    decision = (await http.post(URL, json={"context": {"title": "x"}})).raise_for_status().json()
    assert decision["fallback_reason"] == "model_unavailable"


async def test_before_the_first_version_is_loaded_nothing_has_failed(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1, load=False)
    assert (await http.post(URL, json={})).json()["fallback_reason"] == "no_model_yet"
    gateway.models.failing["policy"] = grpc.StatusCode.UNAVAILABLE
    await gateway.catch_up()
    assert (await http.post(URL, json={})).json()["fallback_reason"] == "model_unavailable"


async def test_scores_that_are_not_finite_never_decide(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.not_finite = True
    assert (await http.post(URL, json={})).json()["fallback_reason"] == "model_unavailable"


async def test_a_value_that_encoding_refuses_is_the_callers_problem(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.refused["photo"] = "an image that cannot be read"
    rows = [{"context": {"title": "x"}}, {"context": {"photo": {"data": as_base64(png())}}}]
    answer = (await http.post(f"{URL}:batch", json={"decisions": rows})).json()["decisions"]
    assert answer[0]["model_version"] == "1"
    assert (answer[1]["status"], answer[1]["field"]) == (422, "context.photo")
    assert len(decisions(gateway)) == 1


async def test_only_a_version_that_reads_actions_is_sent_them(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    (await http.post(URL, json={})).raise_for_status()
    assert gateway.models.encoded_actions == 0
    body = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a", "features": {"price": 1}}]}
    (await http.put("/v1/loops/priced", json=body)).raise_for_status()
    await gateway.publish("priced", 1)
    (await http.post("/v1/loops/priced/decisions", json={})).raise_for_status()
    assert gateway.models.encoded_actions == 1
