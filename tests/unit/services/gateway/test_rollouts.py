"""Rollouts over HTTP: begun, led, refused; and who decides meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from services.gateway.settings import GatewaySettings
from services.gateway.shadowing import MOST_WAITING
from shared.db.engine import write_session
from shared.domain import Decision, ModelRef
from shared.model_server import POLL_SECONDS
from shared.registry.rollouts import step_rollout
from shared.registry.versions import add_version
from shared.rollouts import RolloutRef, ShadowScored
from tests.unit.services.gateway.conftest import LOOP
from tests.unit.services.gateway.fakes import Gateway, manifest_of, version_of

URL = "/v1/loops/shoes/rollouts"


async def register(gateway: Gateway, version: int, settings: Any = None) -> ModelRef:
    """A ready version that no alias names."""
    served = gateway.parts.directory.loop("default", "shoes")
    assert served is not None
    ref = ModelRef("default", "shoes", version)
    manifest = manifest_of(ref, settings or served.loop.settings)
    sha256 = gateway.ports.artifacts.put(manifest.model_dump_json().encode())
    with write_session(gateway.ports.engine) as session:
        add_version(session, version_of(manifest, sha256))
    return ref


@pytest.fixture
async def versions(http: httpx.AsyncClient, gateway: Gateway) -> list[ModelRef]:
    """The champion, and a version that could take over."""
    return [await gateway.publish("shoes", 1), await register(gateway, 2)]


async def start(http: httpx.AsyncClient, **body: object) -> dict[str, Any]:
    answer = await http.post(URL, json={"model_version": "2", **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def decide(http: httpx.AsyncClient, gateway: Gateway, bodies: Sequence[dict[str, object]]) -> list[Decision]:
    for body in bodies:
        answer = await http.post("/v1/loops/shoes/decisions", json={"context": {"title": "x"}, **body})
        assert answer.status_code == 200
    events = gateway.log.events("rewardloop.decisions")[-len(bodies) :]
    return [event for event in events if isinstance(event, Decision)]


async def aliases(http: httpx.AsyncClient) -> dict[str, str]:
    found: dict[str, str] = (await http.get("/v1/loops/shoes")).json()["aliases"]
    return found


async def test_an_immediate_rollout_makes_a_champion_and_can_be_taken_back(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    rollout = await start(http, strategy="immediate")
    assert (rollout["status"], await aliases(http)) == ("promoted", {"champion": "2"})
    # Until all services have it, the one before decides: no decision fails.
    assert [one.model_version for one in await decide(http, gateway, [{}])] == [1]
    gateway.models.load(versions[1])
    await gateway.catch_up()
    assert [one.model_version for one in await decide(http, gateway, [{}])] == [2]
    back = (await http.post(f"{URL}/{rollout['rollout_id']}/rollback")).json()
    assert (back["status"], await aliases(http)) == ("rolled_back", {"champion": "1"})
    assert [one.model_version for one in await decide(http, gateway, [{}])] == [1]
    moves = (await http.get("/v1/loops/shoes/aliases")).json()["items"]
    assert [(move["alias"], move["model_version"], move["previous_version"]) for move in moves] == [
        ("champion", "1", "2"),
        ("champion", "2", "1"),
        ("champion", "1", None),
    ]
    assert [move["moved_by"].split()[0] for move in moves] == ["key", "key", "trainer"]
    audit = (await http.get("/v1/audit")).json()["items"]
    assert [entry["verb"] for entry in audit][:2] == ["rollback", "start"]


async def test_a_promotion_and_its_rollback_reach_every_gateway_and_no_decision_fails(
    make_gateway: Callable[..., Gateway],
) -> None:
    one, other = make_gateway(), make_gateway()
    async with one.client() as http, other.client() as http_of_other:
        (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        versions = [await one.publish("shoes", 1), await register(one, 2)]
        for gateway in (one, other):
            for version in versions:
                gateway.models.load(version)
            await gateway.catch_up()

        async def deciding() -> list[int | None]:
            """Which version decides at either."""
            return [(await decide(of, one, [{}]))[0].model_version for of in (http, http_of_other)]

        rollout = await start(http, strategy="immediate")
        # Whoever was told knows it at once; the other until its next look decides by the one before.
        assert await deciding() == [2, 1]
        await other.catch_up()
        assert await deciding() == [2, 2]
        (await http.post(f"{URL}/{rollout['rollout_id']}/rollback")).raise_for_status()
        assert await deciding() == [1, 2]
        await other.catch_up()
        assert await deciding() == [1, 1]


def test_every_replica_has_looked_within_two_seconds() -> None:
    """What a promotion waits for: a service loads the version; a gateway sees that, and the alias."""
    settings = GatewaySettings()
    assert POLL_SECONDS + settings.models_interval + settings.refresh_interval < 2


async def test_subjects_keep_their_arm_and_a_growing_share_takes_none_from_the_version(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    await start(http, strategy="progressive", steps=[20, 60])
    # Before its services have the version, it is nobody's turn.
    assert (await decide(http, gateway, [{"subject_id": "u0"}]))[0].arm is None
    gateway.models.load(versions[1])
    await gateway.catch_up()
    subjects: list[dict[str, object]] = [{"subject_id": f"u{number}"} for number in range(60)]
    decided = await decide(http, gateway, subjects)
    arms = {one.subject_id: one.arm for one in decided}
    assert 3 <= Counter(arms.values())["canary"] <= 22
    assert all(one.model_version == one.assigned_version == (2 if one.arm == "canary" else 1) for one in decided)
    assert {(one.arm, one.arm_share, one.rollout_step) for one in decided} == {
        ("canary", 0.2, 0),
        ("champion", 0.8, 0),
    }
    assert {one.subject_id: one.arm for one in await decide(http, gateway, subjects)} == arms
    rollout_id = decided[0].rollout_id
    with write_session(gateway.ports.engine) as session:
        step_rollout(session, RolloutRef("default", "shoes", str(rollout_id)), 0, 1, "test", {})
    await gateway.catch_up()
    grown = {one.subject_id: one.arm for one in await decide(http, gateway, subjects)}
    assert {name for name, arm in arms.items() if arm == "canary"} < {
        name for name, arm in grown.items() if arm == "canary"
    }


async def test_what_the_version_cannot_decide_the_champion_does_and_it_counts_against_the_version(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    await start(http, strategy="canary", steps=[99])
    gateway.models.load(versions[1])
    await gateway.catch_up()
    gateway.models.unloaded = {versions[1]}
    [decision] = [one for one in await decide(http, gateway, [{}] * 5) if one.arm == "canary"][:1]
    assert (decision.model_version, decision.assigned_version, decision.fallback_reason) == (1, 2, None)


async def test_in_a_frozen_loop_the_champion_decides_for_all(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    await start(http, strategy="canary", steps=[99])
    gateway.models.load(versions[1])
    await gateway.catch_up()
    (await http.post("/v1/loops/shoes/freeze", json={"serve": "champion"})).raise_for_status()
    decided = await decide(http, gateway, [{}] * 5)
    assert {(one.model_version, one.arm, one.assigned_version) for one in decided} == {(1, None, None)}
    (await http.post("/v1/loops/shoes/unfreeze")).raise_for_status()
    assert "canary" in {one.arm for one in await decide(http, gateway, [{}] * 5)}


async def test_a_holdout_is_no_versions_to_decide(http: httpx.AsyncClient, gateway: Gateway) -> None:
    await gateway.publish("shoes", 1)
    (await http.put("/v1/loops/shoes", json=LOOP | {"holdout": {"share": 0.4}})).raise_for_status()
    subjects: list[dict[str, object]] = [{"subject_id": f"u{n}", "baseline_action_id": "b"} for n in range(40)]
    decided = await decide(http, gateway, subjects)
    held_out = [one for one in decided if one.arm == "holdout"]
    assert 5 <= len(held_out) <= 28
    assert {(one.action_id, one.probability, one.model_version) for one in held_out} == {("b", 1.0, None)}
    assert {one.fallback_reason for one in held_out} == {"holdout"}
    assert {one.arm_share for one in decided} == {0.4, 0.6}
    uniform = LOOP | {"holdout": {"share": 0.4, "policy": "uniform"}}
    (await http.put("/v1/loops/shoes", json=uniform)).raise_for_status()
    again = [one for one in await decide(http, gateway, subjects) if one.arm == "holdout"]
    assert {one.subject_id for one in again} == {one.subject_id for one in held_out}
    assert {round(one.probability, 9) for one in again} == {round(1 / 3, 9)}


async def test_a_rollout_is_led_by_hand(http: httpx.AsyncClient, versions: list[ModelRef]) -> None:
    rollout = await start(http, strategy="canary")
    url = f"{URL}/{rollout['rollout_id']}"
    assert (await aliases(http)) == {"champion": "1", "canary": "2"}
    assert (rollout["percent"], rollout["steps"], rollout["champion_version"]) == (10, [10], "1")
    assert (await http.post(f"{url}/pause")).json()["status"] == "paused"
    assert (await http.post(f"{url}/resume")).json()["status"] == "running"
    promoted = (await http.post(f"{url}/promote")).json()
    assert (promoted["status"], promoted["percent"], await aliases(http)) == ("promoted", 0, {"champion": "2"})
    events = (await http.get(url)).json()["events"]
    assert [event["kind"] for event in events] == ["started", "paused", "resumed", "promoted"]
    assert (await http.get(URL)).json()["items"][0]["rollout_id"] == rollout["rollout_id"]
    ended = await http.post(f"{url}/pause")
    assert (ended.status_code, ended.json()["type"]) == (409, "urn:rewardloop:problem:rollout-ended")


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"model_version": "9"}, 404, "unknown-model-version"),
        ({"model_version": "1"}, 409, "version-serves"),
        ({"model_version": "2", "steps": [50, 10], "strategy": "canary"}, 422, "invalid-field"),
        ({"model_version": "2", "steps": [10]}, 422, "invalid-field"),
        ({"model_version": "2", "steps": [100], "strategy": "canary"}, 422, "invalid-field"),
        ({"model_version": 2}, 422, "invalid-field"),
        ({}, 422, "invalid-field"),
    ],
)
async def test_a_rollout_that_cannot_begin_is_refused(
    http: httpx.AsyncClient, versions: list[ModelRef], body: dict[str, object], status: int, problem: str
) -> None:
    answer = await http.post(URL, json=body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:rewardloop:problem:{problem}")
    assert (await http.get(URL)).json()["items"] == []


async def test_one_rollout_at_a_time(http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]) -> None:
    await start(http, strategy="canary")
    await register(gateway, 3)
    second = await http.post(URL, json={"model_version": "3", "strategy": "canary"})
    assert (second.status_code, second.json()["type"]) == (409, "urn:rewardloop:problem:rollout-under-way")
    unknown = await http.get(f"{URL}/nothing")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:rewardloop:problem:unknown-rollout")


async def test_a_version_that_reads_other_modalities_is_not_promoted(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    changed = LOOP | {"modalities": LOOP["modalities"] | {"vector": {"kind": "embedding", "dimension": 5}}}
    (await http.put("/v1/loops/shoes", json=changed)).raise_for_status()
    answer = await http.post(URL, json={"model_version": "2", "strategy": "immediate"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rewardloop:problem:version-unusable")


async def test_a_rollout_is_planned_by_the_bound_that_judges_it(http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{URL}:plan", json={"base_reward": 0.5, "lift": -0.3, "share": 0.1})
    plan = answer.json()
    assert (answer.status_code, plan["verdict"]) == (200, "rolled_back")
    assert 200 < plan["of_version"] < 600
    hopeless = await http.post(f"{URL}:plan", json={"base_reward": 1e-9, "lift": 0.01, "share": 0.01})
    assert (hopeless.status_code, hopeless.json()["type"]) == (422, "urn:rewardloop:problem:hopeless-rollout")
    nothing = await http.post(f"{URL}:plan", json={"lift": 0.2})
    assert (nothing.status_code, nothing.json()["field"]) == (422, "base_reward")


async def test_a_shadow_scores_beside_the_decisions_and_logs_its_whole_distribution(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    rollout = await start(http, strategy="shadow")
    assert await aliases(http) == {"champion": "1", "shadow": "2"}
    gateway.models.load(versions[1])
    await gateway.catch_up()
    scoring = asyncio.create_task(gateway.parts.shadow.run())
    [decision] = await decide(http, gateway, [{}])
    assert (decision.model_version, decision.arm) == (1, None)
    await has_come(gateway, 1)
    [scored] = gateway.log.events("rewardloop.shadows")
    assert isinstance(scored, ShadowScored)
    assert (scored.decision_id, scored.model_version, scored.rollout_id) == (
        decision.decision_id,
        2,
        rollout["rollout_id"],
    )
    assert scored.probabilities is not None
    assert scored.probabilities.tolist() == pytest.approx([1 / 3] * 3)
    gateway.models.unloaded = {versions[1]}
    await decide(http, gateway, [{}])
    await has_come(gateway, 2)
    failed = gateway.log.events("rewardloop.shadows")[1]
    assert isinstance(failed, ShadowScored)
    assert failed.probabilities is None
    scoring.cancel()


async def test_what_a_shadow_has_no_time_for_is_dropped_and_counted(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    await start(http, strategy="shadow")
    gateway.models.load(versions[1])
    await gateway.catch_up()
    # Nobody scores: the queue fills up.
    await decide(http, gateway, [{}] * (MOST_WAITING + 3))
    metrics = (await http.get("/metrics")).text
    assert 'rewardloop_gateway_shadowed_contexts_total{outcome="dropped"} 3.0' in metrics


async def has_come(gateway: Gateway, count: int) -> None:
    async with asyncio.timeout(60):
        while len(gateway.log.topics.get("rewardloop.shadows", [])) < count:
            await asyncio.sleep(0.01)


async def test_webhooks_are_made_listed_and_deleted_and_their_secret_is_told_once(
    http: httpx.AsyncClient, gateway: Gateway, versions: list[ModelRef]
) -> None:
    made = (await http.post("/v1/webhooks", json={"url": "https://example.com/hook"})).json()
    assert made["secret"].startswith("whsec_")
    [listed] = (await http.get("/v1/webhooks")).json()["items"]
    assert listed == {name: value for name, value in made.items() if name != "secret"}
    assert (await http.post("/v1/webhooks", json={"url": "file:///etc/passwd"})).status_code == 422
    assert (await http.delete(f"/v1/webhooks/{made['webhook_id']}")).status_code == 204
    gone = await http.delete(f"/v1/webhooks/{made['webhook_id']}")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:rewardloop:problem:unknown-webhook")
