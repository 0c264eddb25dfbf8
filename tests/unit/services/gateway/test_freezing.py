"""A frozen loop serves what it is told to, and has nothing learned."""

from collections.abc import Callable

import httpx
import pytest

from shared.db.engine import write_session
from shared.domain import RunRef
from shared.registry.training_runs import LeaseLostError, report_progress, take_lease
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import Gateway


async def decide(http: httpx.AsyncClient, **body: object) -> dict[str, object]:
    answer = (await http.post("/v1/loops/shoes/decisions", json=body)).raise_for_status()
    decision: dict[str, object] = answer.json()
    return decision


async def test_frozen_to_the_baseline_it_serves_that_with_probability_1(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    await gateway.publish("shoes", 1)
    frozen = (await http.post("/v1/loops/shoes/freeze")).raise_for_status().json()
    assert (frozen["frozen_to"], frozen["settings_revision"]) == ("baseline", 1)
    for baseline, excluded, served in (("b", [], "b"), (None, [], "a"), ("b", ["a", "b"], "c")):
        told = {"excluded_action_ids": excluded} | ({} if baseline is None else {"baseline_action_id": baseline})
        decision = await decide(http, **told)
        found = (decision["action_id"], decision["probability"], decision["fallback_reason"])
        assert found == (served, 1.0, "frozen")
    assert gateway.models.calls == []
    thawed = (await http.post("/v1/loops/shoes/unfreeze")).raise_for_status().json()
    assert thawed["frozen_to"] is None
    assert (await decide(http))["fallback_reason"] is None


async def test_frozen_to_the_champion_that_goes_on_deciding(gateway: Gateway, http: httpx.AsyncClient) -> None:
    await gateway.publish("shoes", 1)
    (await http.post("/v1/loops/shoes/freeze", json={"serve": "champion"})).raise_for_status()
    assert (await decide(http))["model_version"] == "1"


async def test_changing_its_settings_does_not_unfreeze_a_loop(http: httpx.AsyncClient) -> None:
    (await http.post("/v1/loops/shoes/freeze")).raise_for_status()
    changed = await http.put("/v1/loops/shoes", json=LOOP | {"exploration": {"floor": 0.1}})
    assert changed.raise_for_status().json()["frozen_to"] == "baseline"
    shown = (await http.get("/v1/loops/shoes")).json()
    assert (await http.put("/v1/loops/shoes", json=shown)).status_code == 200
    warnings = (await http.get("/v1/loops/shoes/statistics")).json()["warnings"]
    assert "The loop is frozen: its baseline serves, and nothing is learned." in warnings


async def test_fine_tunes_end_and_none_is_taken(gateway: Gateway, http: httpx.AsyncClient) -> None:
    run = (await http.post("/v1/loops/shoes/training-runs")).raise_for_status().json()["training_run_id"]
    ref = RunRef("default", "shoes", run)
    with write_session(gateway.ports.engine) as session:
        first = (await http.get("/v1/loops/shoes/training-runs")).json()["items"][-1]
        assert first["kind"] == "initialise"
        assert take_lease(session, ref, "worker", gateway.clock(), 60_000_000) is not None
    (await http.post("/v1/loops/shoes/freeze")).raise_for_status()
    found = (await http.get(f"/v1/loops/shoes/training-runs/{run}")).json()
    assert (found["status"], found["detail"]) == ("skipped", "the loop was frozen")
    # The worker finds out at its next word, and brings nothing.
    with pytest.raises(LeaseLostError), write_session(gateway.ports.engine) as session:
        report_progress(session, ref, "worker", gateway.clock(), 60_000_000, 0.5, None, 1)
    # The first version is made all the same.
    first = (await http.get("/v1/loops/shoes/training-runs")).json()["items"][-1]
    assert first["status"] == "queued"
    refused = await http.post("/v1/loops/shoes/training-runs")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:rewardloop:problem:loop-frozen")
    (await http.post("/v1/loops/shoes/unfreeze")).raise_for_status()
    assert (await http.post("/v1/loops/shoes/training-runs")).status_code == 202


async def test_another_gateway_hears_of_it(make_gateway: Callable[..., Gateway], http: httpx.AsyncClient) -> None:
    other = make_gateway(bootstrap=False)
    await other.catch_up()
    (await http.post("/v1/loops/shoes/freeze")).raise_for_status()
    await other.catch_up()
    loop = other.parts.directory.loop("default", "shoes")
    assert loop is not None
    assert loop.loop.frozen_to == "baseline"


async def test_what_cannot_be_frozen_is_told_and_what_was_is_audited(http: httpx.AsyncClient) -> None:
    assert (await http.post("/v1/loops/boots/freeze")).status_code == 404
    assert (await http.post("/v1/loops/boots/unfreeze")).status_code == 404
    refused = await http.post("/v1/loops/shoes/freeze", json={"serve": "chaos"})
    assert (refused.status_code, refused.json()["field"]) == (422, "serve")
    for verb in ("freeze", "unfreeze"):
        (await http.post(f"/v1/loops/shoes/{verb}")).raise_for_status()
    entries = (await http.get("/v1/audit")).json()["items"]
    assert [(entry["verb"], entry["object"]) for entry in entries[:2]] == [
        ("unfreeze", "loops/shoes"),
        ("freeze", "loops/shoes"),
    ]
