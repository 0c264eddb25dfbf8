"""Loops over HTTP: created, changed, listed, deleted; and what a new one sets going."""

from collections.abc import Callable

import httpx
import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import select

from shared.db.engine import read_session
from shared.db.tables import Base, LoopRow, RestatementRow
from shared.domain import RunRef
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import Gateway


async def test_a_new_loop_is_there_at_once_with_every_default(gateway: Gateway) -> None:
    async with gateway.client() as http:
        body = {"modalities": {"title": {"kind": "text"}}}
        made = await http.put("/v1/loops/hats", json=body)
        assert made.status_code == 201
        assert made.json() == (await http.get("/v1/loops/hats")).raise_for_status().json()
    loop = made.json()
    assert (loop["loop_id"], loop["settings_revision"], loop["aliases"]) == ("hats", 1, {})
    assert loop["exploration"]["strategy"] == "thompson"
    assert loop["reward_wait_time"] == "PT10M"
    assert loop["close_on_first_feedback"] is True


async def test_a_new_loop_gets_its_first_version_made(gateway: Gateway, http: httpx.AsyncClient) -> None:
    (run,) = (await http.get("/v1/loops/shoes/training-runs")).json()["items"]
    assert (run["kind"], run["status"]) == ("initialise", "queued")
    assert gateway.enqueued == [RunRef("default", "shoes", run["training_run_id"])]
    (await http.put("/v1/loops/shoes", json=LOOP | {"default_reward": 1})).raise_for_status()
    assert len(gateway.enqueued) == 1


async def test_only_a_change_is_a_new_revision(gateway: Gateway, http: httpx.AsyncClient) -> None:
    first = (await http.get("/v1/loops/shoes")).json()
    same = await http.put("/v1/loops/shoes", json=LOOP)
    assert (same.status_code, same.json()) == (200, first)
    # What GET answers may be sent back.
    assert (await http.put("/v1/loops/shoes", json=first)).json() == first
    changed = await http.put("/v1/loops/shoes", json=first | {"reward_wait_time": "PT1M"})
    assert (changed.json()["settings_revision"], changed.json()["reward_wait_time"]) == (2, "PT1M")
    await http.post("/v1/loops/shoes/decisions", json={})
    (decided,) = gateway.log.events("rewardloop.decisions")
    assert decided.settings_revision == 2  # type: ignore[union-attr] # a Decision


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        ({"default_reward": 1}, True),
        ({"reward_aggregation": "sum"}, True),
        ({"reward": {"metrics": {"click": {"weight": 2}}, "range": [0, 1]}}, True),
        ({"reward": LOOP["reward"] | {"range": [0, 5]}}, False),
        ({"reward_wait_time": "PT1M"}, False),
    ],
)
async def test_only_another_definition_of_the_reward_asks_for_a_restatement(
    gateway: Gateway, http: httpx.AsyncClient, change: dict[str, object], asks: bool
) -> None:
    (await http.put("/v1/loops/shoes", json=LOOP | change)).raise_for_status()
    with read_session(gateway.ports.engine) as session:
        rows = session.scalars(select(RestatementRow)).all()
        assert [(row.loop_id, row.settings_revision, row.done_sequence) for row in rows] == [("shoes", 2, 0)] * asks


async def test_the_trainer_may_be_away(make_gateway: Callable[..., Gateway]) -> None:
    def away(_: RunRef) -> None:
        raise OperationalError("no broker")

    async with make_gateway(enqueue=away).client() as http:
        assert (await http.put("/v1/loops/hats", json=LOOP)).status_code == 201
        assert len((await http.get("/v1/loops/hats/training-runs")).json()["items"]) == 1


async def test_loops_are_listed_part_by_part(http: httpx.AsyncClient) -> None:
    for name in ("d", "b", "a"):
        (await http.put(f"/v1/loops/{name}", json=LOOP)).raise_for_status()
    first = (await http.get("/v1/loops", params={"limit": 3})).json()
    assert [loop["loop_id"] for loop in first["items"]] == ["a", "b", "d"]
    last = (await http.get("/v1/loops", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [loop["loop_id"] for loop in last["items"]] == ["shoes"]
    assert last["next_cursor"] is None


async def test_a_deleted_loop_leaves_nothing_and_its_name_is_free(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    (await http.post("/v1/loops/shoes/decisions", json={"decision_id": "d"})).raise_for_status()
    (await http.put("/v1/loops/hats", json=LOOP)).raise_for_status()
    assert (await http.delete("/v1/loops/shoes")).status_code == 204
    assert (await http.get("/v1/loops/shoes")).status_code == 404
    assert (await http.post("/v1/loops/shoes/decisions", json={})).status_code == 404
    with read_session(gateway.ports.engine) as session:
        for table in Base.metadata.sorted_tables:
            if "loop_id" in table.columns:
                assert session.execute(select(table.c.loop_id).where(table.c.loop_id == "shoes")).all() == []
        assert [row.loop_id for row in session.scalars(select(LoopRow))] == ["hats"]
    again = (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status().json()
    assert (again["settings_revision"], again["aliases"]) == (1, {})
    # Its ids are free as well.
    assert (
        await http.post("/v1/loops/shoes/decisions", json={"decision_id": "d", "deferred": True})
    ).status_code == 200


async def test_aliases_are_told(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    assert (await http.get("/v1/loops/shoes")).json()["aliases"] == {"champion": "1"}


async def test_an_apprentice_that_goes_online_gets_a_version_that_expects_rewards(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    async def reasons(mode: str) -> list[str | None]:
        (await http.put("/v1/loops/shoes", json=LOOP | {"learning_mode": mode})).raise_for_status()
        return [run["reason"] for run in (await http.get("/v1/loops/shoes/training-runs")).json()["items"]]

    assert await reasons("apprentice") == [None]
    assert await reasons("online") == ["online", None]
    assert online_at(gateway) is not None
    assert await reasons("logging_only") == ["online", None]
    assert await reasons("online") == ["online", None], "it imitated nobody"
    assert online_at(gateway) is None


def online_at(gateway: Gateway) -> int | None:
    with read_session(gateway.ports.engine) as session:
        return session.scalars(select(LoopRow.online_at)).one()
