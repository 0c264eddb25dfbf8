"""Versions take over step by step, or are turned back by what they earned: one platform, all over HTTP."""

import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e import product
from tests.e2e.browsing import Scheme, Visitor, check_page
from tests.e2e.conftest import KEY, Platform, until
from tests.e2e.test_settings import put

LOOP = "rollouts"
# Steps are over as soon as there is enough to see; the machine's own stalls are not looked at.
QUICK: dict[str, object] = {
    "step_duration": "PT0.5S",
    "min_decisions": 30,
    "guardrails": {"slow_after": "PT60S"},
}
Rewards = Callable[[str | None], float]


@pytest.fixture(scope="module")
def two_versions(http: httpx.Client) -> httpx.Client:
    """A loop whose version 2 is the champion; version 1 can be rolled out again."""
    put(http, LOOP, reward_wait_time="PT1S", exploration={"floor": 0.2}, learning={"max_steps": 20})
    serve(http, LOOP, 60, lambda _: 1.0)
    product.wait_for_experiences(http, LOOP, 60)
    run = product.fine_tune(http, LOOP)
    assert (run["status"], run["model_version"]) == ("succeeded", "2")
    return http


def serve(http: httpx.Client, loop_id: str, count: int, reward: Rewards, **more: object) -> list[product.Answer]:
    """Decisions of as many people; what they earn goes by the version that decided."""
    rows = [{"context": {"user": {"colour": "red"}}} | more for _ in range(count)]
    answer = http.post(f"/v1/loops/{loop_id}/decisions:batch", json={"decisions": rows}).raise_for_status()
    decisions: list[product.Answer] = answer.json()["decisions"]
    events = [
        {"decision_id": one["decision_id"], "metric": "reward", "value": reward(one["model_version"])}
        for one in decisions
    ]
    http.post(f"/v1/loops/{loop_id}/feedback", json=events).raise_for_status()
    return decisions


def start(http: httpx.Client, loop_id: str = LOOP, **settings: object) -> str:
    body = {"model_version": "1", "strategy": "canary", "steps": [40], **QUICK, **settings}
    answer = http.post(f"/v1/loops/{loop_id}/rollouts", json=body)
    assert answer.status_code == 201, answer.text
    rollout_id: str = answer.json()["rollout_id"]
    until(lambda: decides(http, loop_id, "1"), "the version decides")
    return rollout_id


def decides(http: httpx.Client, loop_id: str, version: str) -> bool:
    return any(one["model_version"] == version for one in serve(http, loop_id, 10, lambda _: 0.5))


def read(http: httpx.Client, rollout_id: str, loop_id: str = LOOP) -> dict[str, Any]:
    answer: dict[str, Any] = http.get(f"/v1/loops/{loop_id}/rollouts/{rollout_id}").raise_for_status().json()
    return answer


def end(http: httpx.Client, rollout_id: str, loop_id: str = LOOP) -> None:
    http.post(f"/v1/loops/{loop_id}/rollouts/{rollout_id}/rollback").raise_for_status()


def champion(http: httpx.Client) -> str:
    found: str = http.get(f"/v1/loops/{LOOP}").json()["aliases"]["champion"]
    return found


def test_a_version_that_earns_less_is_rolled_back_and_one_that_earns_more_promoted(two_versions: httpx.Client) -> None:
    http = two_versions
    worse = start(http)
    until(lambda: _served(http, worse, lambda version: 0.1 if version == "1" else 0.9), "the worse is rolled back")
    assert (read(http, worse)["detail"], champion(http)) == ("reward", "2")
    better = start(http, strategy="progressive", steps=[30, 60])
    until(lambda: _served(http, better, lambda version: 0.9 if version == "1" else 0.4), "the better is promoted")
    found = read(http, better)
    assert (found["status"], found["figures"]["difference_lower"] > 0) == ("promoted", True)
    until(lambda: champion(http) == "1", "the gateway has seen it")
    assert [event["kind"] for event in found["events"]] == ["started", "stepped", "promoted"]
    until(lambda: serve(http, LOOP, 1, lambda _: 0.5)[0]["model_version"] == "1", "it decides everything")
    end(http, better)
    assert champion(http) == "2"


def _served(http: httpx.Client, rollout_id: str, reward: Rewards) -> bool:
    """Whether it has ended, after some more decisions."""
    serve(http, LOOP, 60, reward)
    return read(http, rollout_id)["status"] != "running"


def _has_seen(http: httpx.Client, rollout_id: str, count: int) -> bool:
    """Whether so many people have met the version by now, after some more decisions."""
    serve(http, LOOP, 60, lambda _: 0.5)
    return int(read(http, rollout_id)["figures"].get("assigned", 0)) >= count


def test_guardrails_look_where_the_settings_say(two_versions: httpx.Client) -> None:
    http = two_versions
    strict = {"slow_after": "PT0.00001S", "least_entropy": 1.0}
    found = {}
    for name, guardrails in (("strict", strict), ("default", {"slow_after": "PT60S"})):
        rollout = start(http, guardrails=guardrails, min_decisions=100_000)
        until(partial(_has_seen, http, rollout, 30), "it is seen")
        found[name] = read(http, rollout)["figures"]
        end(http, rollout)
    assert found["strict"]["champion_slow"] + found["strict"]["slow"] >= 30
    assert found["strict"]["champion_collapsed"] + found["strict"]["collapsed"] >= 30
    assert found["default"]["champion_slow"] == found["default"]["champion_collapsed"] == 0


def test_a_version_that_is_worse_for_a_segment_is_rolled_back_unless_that_is_tolerated(http: httpx.Client) -> None:
    """On the whole it earns more: the few who are red pay for the many who are blue."""
    name = "rollouts-by-segment"
    settings = {"exploration": {"floor": 0.2}, "learning": {"max_steps": 20}}
    put(http, name, reward_wait_time="PT1S", fairness={"segments": ["user.colour"]}, **settings)
    serve(http, name, 60, lambda _: 1.0)
    product.wait_for_experiences(http, name, 60)
    product.fine_tune(http, name)

    def serve_both(rollout_id: str) -> bool:
        serve(http, name, 40, lambda version: 0.1 if version == "1" else 0.6)
        blue: dict[str, object] = {"context": {"user": {"colour": "blue"}}}
        serve(http, name, 120, lambda version: 0.9 if version == "1" else 0.4, **blue)
        return read(http, rollout_id, name)["status"] != "running"

    for tolerance, ended in ((0.0, ("rolled_back", "fairness")), (1.0, ("promoted", "reward"))):
        guardrails = {"slow_after": "PT60S", "segment_tolerance": tolerance}
        rollout = start(http, name, guardrails=guardrails, min_decisions=150)
        until(partial(serve_both, rollout), "it has ended")
        found = read(http, rollout, name)
        assert (found["status"], found["detail"]) == ended
        assert found["events"][-1]["figures"]["worst_segment"] == "user.colour=red"


def test_tolerance_and_time_decide_what_becomes_of_a_version_that_is_like_the_champion(
    two_versions: httpx.Client,
) -> None:
    http, chance = two_versions, random.Random(3)

    def alike(_: str | None) -> float:
        return float(chance.random() < 0.5)

    held = start(http, tolerance=0.0, max_duration="PT3S")
    until(lambda: _served(http, held, alike), "there is no verdict in its time")
    assert (read(http, held)["status"], read(http, held)["percent"]) == ("inconclusive", 40)
    end(http, held)
    lenient = start(http, tolerance=1.0)
    until(lambda: _served(http, lenient, alike), "it is promoted")
    assert read(http, lenient)["status"] == "promoted"
    end(http, lenient)


@pytest.mark.browser
def test_a_rollout_is_led_from_the_browser(
    two_versions: httpx.Client, browser: Browser, shared_platform: Platform
) -> None:
    http = two_versions
    until(lambda: champion(http) == "2", "the gateway has seen who is the champion")
    visitor = Visitor(browser, f"http://127.0.0.1:{shared_platform.dashboard_port}")
    page = visitor.sign_in(KEY, f"/loops/{LOOP}/models/1")
    page.get_by_role("link", name="Roll it out").click()
    page.get_by_label("Strategy").select_option("canary")
    page.get_by_label("Steps, in percent").fill("40")
    page.get_by_role("button", name="Start rollout").click()
    page.get_by_role("dialog").get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rollout of version 1")
    rollout_id = page.url.rpartition("/")[2]
    assert (read(http, rollout_id)["percent"], read(http, rollout_id)["steps"]) == (40, [40])
    until(partial(_has_seen, http, rollout_id, 10), "it is seen")
    expect(page.get_by_role("table", name="Evidence")).to_contain_text("Mean reward0.50")
    for verb, status in (("Pause", "paused"), ("Resume", "running"), ("Promote", "promoted")):
        page.get_by_role("button", name=verb).click()
        page.get_by_role("dialog").get_by_role("button", name=verb).click()
        expect(page.locator(".counters")).to_contain_text(f"Status{status}")
        assert read(http, rollout_id)["status"] == status
    until(lambda: serve(http, LOOP, 1, lambda _: 0.5)[0]["model_version"] == "1", "it decides everything")
    for width, scheme in itertools.product((1280, 390), get_args(Scheme)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.reload()
        page.get_by_role("heading", level=1).wait_for()
        check_page(page, width, scheme)
    page.wait_for_function("window.did_handshake")
    page.get_by_role("button", name="Roll back").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator(".counters")).to_contain_text("Statusrolled back")
    until(lambda: champion(http) == "2", "the gateway has seen it")
    visitor.close()
    assert (visitor.errors, visitor.foreign()) == ([], [])


def test_a_fine_tuned_version_is_rolled_out_as_the_loop_says(http: httpx.Client) -> None:
    name = "rollouts-of-fine-tunes"
    put(http, name, rollout={"strategy": "canary", "steps": [50], **QUICK}, reward_wait_time="PT1S")
    serve(http, name, 60, lambda _: 1.0)
    product.wait_for_experiences(http, name, 60)
    run = product.fine_tune(http, name)
    assert (run["status"], "in rollout" in run["detail"]) == ("succeeded", True)
    aliases = {"champion": "1", "canary": "2"}
    until(lambda: http.get(f"/v1/loops/{name}").json()["aliases"] == aliases, "the gateway has seen it")
    [rollout] = http.get(f"/v1/loops/{name}/rollouts").json()["items"]
    assert (rollout["model_version"], rollout["percent"], rollout["steps"]) == ("2", 50, [50])


def test_the_holdout_gets_its_policy_and_nothing_is_learned_from_it(http: httpx.Client) -> None:
    name = "rollouts-holdout"
    put(http, name, holdout={"share": 0.5, "policy": "uniform"}, learning={"max_steps": 20})
    decisions = serve(http, name, 80, lambda _: 1.0)
    held_out = [one for one in decisions if one["fallback_reason"] == "holdout"]
    assert 20 <= len(held_out) <= 60
    assert {row["probability"] for one in held_out for row in one["ranking"]} == {0.5}
    product.wait_for_experiences(http, name, 80)
    product.fine_tune(http, name)
    metrics = http.get(f"/v1/loops/{name}/models/2").json()["metrics"]
    # A fifth of what it may learn from.
    assert metrics["held_out"] == round((80 - len(held_out)) * 0.2)
    put(http, name, holdout={"share": 0.5, "policy": "baseline"}, learning={"max_steps": 20})
    again = serve(http, name, 20, lambda _: 1.0, baseline_action_id="right", subject_id="somebody")
    assert len({one["fallback_reason"] for one in again}) == 1
    others = serve(http, name, 40, lambda _: 1.0, baseline_action_id="right")
    assert {one["action_id"] for one in others if one["fallback_reason"] == "holdout"} == {"right"}
