"""The SDK on a running platform, and on one that is killed in between."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from examples.visiting import make_loop
from rewardloop import AsyncRewardloop, Decision, Options, ProblemError, Rewardloop, Sound
from tests.e2e.conftest import KEY, Platform, until
from tests.e2e.product import statistics

LOOP = {
    "modalities": {"title": {"kind": "text"}, "photo": {"kind": "image"}, "voice": {"kind": "audio"}},
    "actions": [{"id": "a"}, {"id": "b"}],
    "reward_wait_time": "PT1H",
    "exploration": {"floor": 0.1},
}
PATIENT = Options(decide_timeout=30.0, flush_interval=0.05)


ROOT = Path(__file__).resolve().parents[2]


def context() -> dict[str, object]:
    return {"title": "Red shoe", "photo": np.zeros((8, 8, 3), np.uint8), "voice": Sound(np.zeros(800), 8000)}


def test_decisions_feedback_and_activations_become_experiences(shared_platform: Platform, http: httpx.Client) -> None:
    with Rewardloop(shared_platform.url, KEY, PATIENT) as client:
        make_loop(client, "sdk", LOOP)
        assert client.put_loop("sdk", LOOP)["settings_revision"] == 1
        decision = client.decide("sdk", context())
        assert (decision.model_version, decision.is_local, decision.modalities_missing) == ("1", False, [])
        client.feedback("sdk", decision, 1)
        with pytest.raises(ProblemError) as refused:
            client.decide("sdk", {"smell": "roses"})
        assert refused.value.field == "context.smell"

    async def decide_later() -> Decision:
        async with AsyncRewardloop(shared_platform.url, KEY, PATIENT) as other:
            deferred = await other.decide("sdk", context(), deferred=True, actions=["a", "b", "c"])
            other.activate("sdk", deferred, served_action_id="c")
            other.feedback("sdk", deferred, 0.5)
            await other.flush()
            return deferred

    # In a thread of its own: the browser's tests leave an event loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        deferred = thread.submit(asyncio.run, decide_later()).result()
    until(lambda: statistics(http, "sdk")["experiences"] == 2, "both are joined")
    with Rewardloop(shared_platform.url, KEY) as client:
        assert client.statistics("sdk")["reward"]["mean"] == 0.75
        assert client.get_decision("sdk", deferred.decision_id)["served_action_id"] == "c"


def test_what_is_decided_while_the_platform_is_dead_is_learned_from_when_it_is_back(platform: Platform) -> None:
    with Rewardloop(platform.url, KEY, PATIENT) as client:
        client.put_loop("sdk", LOOP)
        first = client.decide("sdk", context(), baseline="b")
        assert not first.is_local
        client.feedback("sdk", first, 1)
        client.flush()
        platform.kill()
        local = client.decide("sdk", context(), baseline="b")
        assert (local.is_local, local.action_id, local.probability) == (True, "b", 1.0)
        client.feedback("sdk", local, 1)
        platform.start()
        client.flush()
        with platform.client() as http:
            until(lambda: statistics(http, "sdk")["experiences"] == 2, "both are joined")
            joined = http.get("/v1/loops/sdk/experiences").raise_for_status().json()["items"]
        assert {row["decision_id"] for row in joined} == {first.decision_id, local.decision_id}
        told = next(row for row in joined if row["decision_id"] == local.decision_id)
        assert (told["action_id"], told["probability"], told["reward"]) == ("b", 1.0, 1.0)


@pytest.mark.parametrize("readme", ["README.md", "sdk/python/README.md"])
def test_the_readmes_first_lines_run(shared_platform: Platform, monkeypatch: pytest.MonkeyPatch, readme: str) -> None:
    code = (ROOT / readme).read_text().partition("```python\n")[2].partition("```")[0]
    assert len([line for line in code.splitlines() if line]) == 5
    monkeypatch.setenv("REWARDLOOP_KEY", KEY)
    loop = f"readme-{len(readme)}"
    found: dict[str, object] = {}
    exec(code.replace("http://127.0.0.1:8000", shared_platform.url).replace("shop", loop), found)
    client = found["client"]
    assert isinstance(client, Rewardloop)
    client.close()
    with Rewardloop(shared_platform.url, KEY) as another:
        until(lambda: another.statistics(loop)["experiences"] == 1, "the decision and its feedback are joined")
