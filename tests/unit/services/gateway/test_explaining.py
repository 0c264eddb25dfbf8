"""Decisions that are to be explained: what is answered, logged and repeated, and what it costs the others."""

from collections.abc import Callable
from typing import Final

import httpx
import pytest

from services.gateway.model_services import Stage
from tests.unit.services.gateway.fakes import Gateway
from tests.unit.services.gateway.test_deciding import URL, decisions, join

BODY: Final = {"context": {"title": "Red shoe", "user": {"age": 31}}, "explain": True, "decision_id": "d-1"}


async def test_shares_of_what_was_there_are_answered_and_logged(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    answer = (await http.post(URL, json=BODY)).raise_for_status()
    assert answer.json()["modality_importance"] == pytest.approx({"title": 1 / 3, "user": 2 / 3})
    (logged,) = decisions(gateway)
    assert logged.modality_importance == answer.json()["modality_importance"]
    assert (await http.post(URL, json=BODY)).content == answer.content


async def test_after_a_restart_the_database_knows_the_shares(
    gateway: Gateway, http: httpx.AsyncClient, make_gateway: Callable[..., Gateway]
) -> None:
    await gateway.publish("shoes", 1)
    answer = (await http.post(URL, json=BODY)).raise_for_status().content
    join(gateway)
    async with make_gateway().client() as again:
        assert (await again.post(URL, json=BODY)).raise_for_status().content == answer
    assert (await http.get(f"{URL}/d-1")).json()["modality_importance"] == pytest.approx(
        {"title": 1 / 3, "user": 2 / 3}
    )


async def test_who_does_not_ask_pays_nothing(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    answer = (await http.post(URL, json=BODY | {"explain": False})).raise_for_status().json()
    assert (answer["modality_importance"], gateway.models.attributed) == (None, [])


async def test_a_batch_is_explained_together(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    rows = [{"context": {"title": "x"}, "explain": number % 2 == 0} for number in range(8)]
    answers = (await http.post(f"{URL}:batch", json={"decisions": rows})).json()["decisions"]
    assert [answer["modality_importance"] for answer in answers] == [{"title": 1.0}, None] * 4
    assert gateway.models.attributed == [4]


@pytest.mark.parametrize("stage", ["policy", "fusion"])
async def test_a_decision_stands_without_its_explanation(
    gateway: Gateway, http: httpx.AsyncClient, stage: Stage
) -> None:
    await gateway.publish("shoes", 1)
    gateway.models.unexplained.add(stage)
    decision = (await http.post(URL, json=BODY)).raise_for_status().json()
    assert (decision["model_version"], decision["fallback_reason"]) == ("1", None)
    assert decision["modality_importance"] is None


@pytest.mark.parametrize("published", [True, False], ids=["nothing is there", "no version"])
async def test_without_a_modality_or_a_version_there_are_no_shares(
    gateway: Gateway, http: httpx.AsyncClient, published: bool
) -> None:
    if published:
        await gateway.publish("shoes", 1)
    context = {} if published else BODY["context"]
    decision = (await http.post(URL, json={"context": context, "explain": True})).raise_for_status().json()
    assert decision["modality_importance"] is None
