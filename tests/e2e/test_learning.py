"""Learning does what a loop's settings say, and what goes wrong is told: one platform, a loop a case, all over HTTP."""

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.e2e import product
from tests.e2e.conftest import until
from tests.e2e.test_settings import (
    COLOURS,
    decide,
    distribution,
    fine_tuned,
    left_for_red,
    put,
    version,
    visit,
)

Row = dict[str, object]

# Enough for statistics to warn.
VISITS = 60


def put_apprentice(http: httpx.Client, loop_id: str, mode: str, **more: object) -> None:
    exploration = {"strategy": "thompson", "seed": 1} | dict(more)
    put(http, loop_id, learning_mode=mode, exploration=exploration, learning={"max_steps": 200})


def follow_baseline(http: httpx.Client, loop_id: str, count: int) -> list[product.Answer]:
    """The product sends red to the left and all else to the right; neither ever earns anything."""
    generator, decisions = random.Random(1), []
    for colour in generator.choices(COLOURS, k=count):
        baseline = "left" if colour == "red" else "right"
        decisions.append(decide(http, loop_id, colour, baseline_action_id=baseline))
        assert decisions[-1]["action_id"] == baseline
    events = [{"decision_id": one["decision_id"], "metric": "reward", "value": 0} for one in decisions]
    http.post(f"/v1/loops/{loop_id}/feedback", json=events).raise_for_status()
    return decisions


def import_rows(http: httpx.Client, loop_id: str, rows: Iterable[Row]) -> None:
    lines = "\n".join(json.dumps({"context": {"user": {"colour": "red"}}} | row) for row in rows)
    headers = {"Content-Type": "application/x-ndjson"}
    http.post(f"/v1/loops/{loop_id}/experiences:import", content=lines, headers=headers).raise_for_status()


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def expected(decision: product.Answer) -> dict[str, float]:
    return {row["id"]: row["expected_reward"] for row in decision["ranking"]}


def best(decision: product.Answer) -> str:
    of = expected(decision)
    return max(of, key=lambda name: of[name])


def learned(http: httpx.Client, loop_id: str, count: int) -> None:
    until(lambda: product.statistics(http, loop_id)["head_sequence"] == count, "the head has learned")


def runs(http: httpx.Client, loop_id: str) -> list[product.Answer]:
    """Newest first."""
    items: list[product.Answer] = http.get(f"/v1/loops/{loop_id}/training-runs").raise_for_status().json()["items"]
    return items


def test_an_apprentice_serves_the_baseline_learns_to_imitate_it_and_goes_online_carefully(http: httpx.Client) -> None:
    put_apprentice(http, "apprentice", "apprentice")
    until(lambda: decide(http, "apprentice")["model_version"] == "1", "version 1 is asked")
    served = follow_baseline(http, "apprentice", 150)
    assert {(one["probability"], one["fallback_reason"]) for one in served} == {(1.0, "apprentice")}
    assert product.fine_tune(http, "apprentice")["status"] == "succeeded"
    before = product.statistics(http, "apprentice")
    follow_baseline(http, "apprentice", 60)
    decided = before["decisions"] + 60
    until(lambda: product.statistics(http, "apprentice")["decisions"] == decided, "the joiner has them")
    after = product.statistics(http, "apprentice")
    matches = after["apprentice_matches"] - before["apprentice_matches"]
    assert matches / (after["apprentice_decisions"] - before["apprentice_decisions"]) > 0.95
    put_apprentice(http, "apprentice", "online", floor=0.01)
    least = min(distribution(decide(http, "apprentice")).values())
    assert least >= 0.1 / 2
    assert runs(http, "apprentice")[0]["reason"] == "online"
    put_apprentice(http, "apprentice", "online", floor=0.01, warm_up="PT0.001S", strategy="epsilon_greedy", epsilon=0.0)
    until(lambda: min(distribution(decide(http, "apprentice")).values()) == 0.005, "the floor is its own again")


def test_a_loop_that_only_logs_serves_the_baseline_and_asks_no_version(http: httpx.Client) -> None:
    put_apprentice(http, "logging", "logging_only")
    served = follow_baseline(http, "logging", 20)
    assert {(one["probability"], one["fallback_reason"]) for one in served} == {(1.0, "logging_only")}
    assert {one["model_version"] for one in served} == {None}
    assert decide(http, "logging")["action_id"] == "left", "the first action, without a baseline"
    product.wait_for_experiences(http, "logging", 20)


@pytest.mark.parametrize(("half_life", "left"), [(None, 0.5), ("P1D", 0.0)])
def test_the_head_forgets_by_its_half_life(http: httpx.Client, half_life: str | None, left: float) -> None:
    loop_id = f"forgets-{half_life or 'nothing'}".lower()
    put(http, loop_id, modalities={"user": {"kind": "tabular"}}, learning={"half_life": half_life})
    until(lambda: bool(version(http, loop_id, "1")), "there is a version")
    old = [
        {"decision_id": f"o{i}", "time": ago(40), "action_id": "left", "probability": 0.5, "reward": 1}
        for i in range(100)
    ]
    new = [row | {"decision_id": f"n{i}", "time": ago(0), "reward": 0} for i, row in enumerate(old)]
    import_rows(http, loop_id, [*new, *old])
    learned(http, loop_id, 200)
    ranking = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": {"user": {"colour": "red"}}}).json()[
        "ranking"
    ]
    assert {row["id"]: row["expected_reward"] for row in ranking}["left"] == pytest.approx(left, abs=0.05)


def test_a_fine_tune_looks_at_newer_experiences_more_often(http: httpx.Client) -> None:
    """What was right came to be wrong: who looks at both alike can learn neither."""
    rows = [
        {
            "decision_id": f"d{i}",
            "action_id": "left",
            "probability": 0.5,
            "reward": float(i < 100),
            "time": ago(1 - i / 1000),
        }
        for i in range(240)
    ]
    losses = []
    for loop_id, half_life in (("alike", None), ("newer", 10)):
        put(http, loop_id, learning={"max_steps": 100, "replay_half_life": half_life})
        import_rows(http, loop_id, rows)
        losses.append(fine_tuned(http, loop_id)["metrics"]["training_loss"])
    assert losses[1] < 0.2 * losses[0]


def test_a_fine_tune_looks_at_rare_draws_as_often_as_its_limit_says(http: httpx.Client) -> None:
    """Of the common action the reward is certain; of the rare one it is a coin's."""
    generator = random.Random(0)
    rows: list[Row] = [
        {"decision_id": f"d{i}", "action_id": "left", "probability": 0.99, "reward": 0.5}
        if i % 10
        else {"decision_id": f"d{i}", "action_id": "right", "probability": 0.01, "reward": generator.randint(0, 1)}
        for i in range(300)
    ]
    losses = []
    for loop_id, limit in (("common", 1), ("rare", 100)):
        put(http, loop_id, learning={"max_steps": 100, "propensity_limit": limit})
        import_rows(http, loop_id, rows)
        losses.append(fine_tuned(http, loop_id)["metrics"]["training_loss"])
    assert losses[1] > 3 * losses[0]


def test_a_fine_tune_ends_once_it_learns_by_heart(http: httpx.Client) -> None:
    """There is nothing to learn but a coin's throws, each with words of its own."""
    generator = random.Random(0)
    rows = [
        {"decision_id": f"d{i}", "action_id": "left", "probability": 0.5, "reward": generator.randint(0, 1)}
        | {"context": {"words": f"{generator.random()} {generator.random()}"}}
        for i in range(450)
    ]
    steps = []
    for loop_id, patience in (("impatient", 50), ("unending", None)):
        put(http, loop_id, learning={"max_steps": 300, "patience": patience})
        import_rows(http, loop_id, rows)
        steps.append(fine_tuned(http, loop_id)["metrics"]["steps"])
    assert steps[0] < steps[1] == 281


def test_drift_starts_a_fine_tune_and_statistics_tell_of_it(http: httpx.Client) -> None:
    learning = {"on_drift": True, "max_steps": 100, "min_experiences": 1_000_000}
    put(http, "drifting", learning=learning)
    until(lambda: decide(http, "drifting")["model_version"] == "1", "version 1 decides")
    for first, seen in ((0, VISITS), (VISITS, VISITS + 200)):
        visit(http, "drifting", seen - first, first=first)
        learned(http, "drifting", seen)
    assert product.statistics(http, "drifting")["last_drift_at"] is None
    visit(http, "drifting", 150, lambda *of: 1 - left_for_red(*of), first=VISITS + 200)
    until(lambda: runs(http, "drifting")[0]["reason"] == "drift", "drift was found")
    assert product.statistics(http, "drifting")["last_drift_at"] == runs(http, "drifting")[0]["requested_at"]


def test_a_fine_tune_learns_from_what_came_after_a_drift(http: httpx.Client) -> None:
    firsts = []
    for loop_id, since_drift in (("starts-anew", True), ("keeps-all", False)):
        learning = {"since_drift": since_drift, "max_steps": 20, "min_experiences": 1_000_000}
        put(http, loop_id, learning=learning, exploration={"strategy": "epsilon_greedy", "epsilon": 0.0, "seed": 1})
        until(lambda of=loop_id: decide(http, of)["model_version"] == "1", "version 1 decides")  # type: ignore[misc] # bound
        for first, seen in ((0, VISITS), (VISITS, VISITS + 200)):
            visit(http, loop_id, seen - first, first=first)
            learned(http, loop_id, seen)
        visit(http, loop_id, 100, lambda *of: 1 - left_for_red(*of), first=VISITS + 200)
        product.fine_tune(http, loop_id)
        firsts.append(version(http, loop_id, "2")["metrics"]["first_sequence"])
    assert VISITS + 190 < firsts[0] <= VISITS + 205
    assert firsts[1] == 1


def test_actions_that_come_and_go_with_unlike_features_are_all_decided_on(http: httpx.Client) -> None:
    product.put(http, "goods", {"modalities": {"words": {"kind": "text"}}})
    asked: list[Row] = [
        {
            "context": {"words": "a shoe"},
            "actions": [{"id": f"{number}-plain"}, {"id": f"{number}-priced", "features": {"price": 10.0**number}}],
        }
        for number in range(20)
    ]
    url = "/v1/loops/goods/decisions:batch"
    for count in (20, 40):
        decisions = http.post(url, json={"decisions": asked}).raise_for_status().json()["decisions"]
        events = [{"decision_id": one["decision_id"], "metric": "reward", "value": 1} for one in decisions]
        http.post("/v1/loops/goods/feedback", json=events).raise_for_status()
        learned(http, "goods", count)
        until(lambda: http.get("/v1/loops/goods/models/1").is_success, "there is a version")
    assert all(0 < one["probability"] <= 1 for one in decisions)
    assert {len(one["ranking"]) for one in decisions} == {2}


@pytest.mark.parametrize(
    ("loop_id", "reward", "warning"),
    [("absurd", lambda *_: 9e14, "outside of `reward.range`"), ("alike-rewards", lambda *_: 0.25, "rewards are alike")],
)
def test_rewards_that_teach_nothing_or_too_much_are_told_and_the_champion_serves(
    http: httpx.Client, loop_id: str, reward: object, warning: str
) -> None:
    put(http, loop_id)
    until(lambda: decide(http, loop_id)["model_version"] == "1", "version 1 decides")
    visit(http, loop_id, VISITS, reward)  # type: ignore[arg-type] # pytest's parameters have no types
    learned(http, loop_id, VISITS)
    assert any(warning in one for one in product.statistics(http, loop_id)["warnings"])
    product.fine_tune(http, loop_id)
    decision = decide(http, loop_id)
    assert decision["fallback_reason"] is None
    assert all(abs(row["expected_reward"]) < 1e16 for row in decision["ranking"])
    assert sum(distribution(decision).values()) == pytest.approx(1)


def test_a_loop_of_one_action_learns_what_it_is_worth(http: httpx.Client) -> None:
    put(http, "single", actions=[{"id": "only"}])
    until(lambda: decide(http, "single")["model_version"] == "1", "version 1 decides")
    visit(http, "single", VISITS, lambda *_: 0.75)
    learned(http, "single", VISITS)
    assert product.fine_tune(http, "single")["status"] in ("succeeded", "skipped")
    decision = decide(http, "single")
    assert (decision["action_id"], decision["probability"]) == ("only", 1.0)
    assert decision["ranking"][0]["expected_reward"] == pytest.approx(0.75, abs=0.1)
    assert any("one action" in one for one in product.statistics(http, "single")["warnings"])


def test_an_embedding_whose_scale_changes_a_thousandfold_is_learned_on(http: httpx.Client) -> None:
    body = {"modalities": {"place": {"kind": "embedding", "dimension": 4}}}
    put(http, "scaled", **body)
    generator = random.Random(0)
    for half, scale in enumerate((1.0, 1000.0)):
        until(lambda: http.get("/v1/loops/scaled/models/1").is_success, "there is a version")
        for _ in range(120):
            place = [scale * generator.gauss(0, 1) for _ in range(4)]
            one = http.post("/v1/loops/scaled/decisions", json={"context": {"place": place}}).raise_for_status().json()
            right = "left" if place[0] > 0 else "right"
            event = {"decision_id": one["decision_id"], "metric": "reward", "value": int(one["action_id"] == right)}
            http.post("/v1/loops/scaled/feedback", json=event).raise_for_status()
        learned(http, "scaled", 120 * (half + 1))
    assert product.fine_tune(http, "scaled")["status"] in ("succeeded", "skipped")
    for sign, right in ((1, "left"), (-1, "right")):
        answer = http.post("/v1/loops/scaled/decisions", json={"context": {"place": [2000 * sign, 0, 0, 0]}}).json()
        assert best(answer) == right


def test_rewards_and_their_range_times_a_thousand_give_the_same_decisions(http: httpx.Client) -> None:
    generator = random.Random(2)
    drawn = [(generator.choice(COLOURS), generator.choice(["left", "right"])) for _ in range(40)]
    told = []
    for loop_id, scale in (("ones", 1.0), ("thousands", 1000.0)):
        thompson = {"strategy": "thompson", "scale": 1.0, "seed": 1}
        put(http, loop_id, reward={"range": [0, scale]}, exploration=thompson)
        rows = [
            {"decision_id": f"d{i}", "action_id": action, "probability": 0.5, "time": ago(1 - i / 1000)}
            | {"context": {"user": {"colour": colour}, "words": colour}}
            | {"reward": scale * left_for_red(colour, action, generator)}
            for i, (colour, action) in enumerate(drawn)
        ]
        import_rows(http, loop_id, rows)
        learned(http, loop_id, 40)
        before = [distribution(decide(http, loop_id, colour)) for colour in COLOURS]
        fine_tuned(http, loop_id)
        told.append([before, [distribution(decide(http, loop_id, colour)) for colour in COLOURS]])
    assert min(told[0][0][0].values()) > 0.01, "nothing is decided yet"
    for ones, thousands in zip(*told, strict=True):
        for one, other in zip(ones, thousands, strict=True):
            assert one == pytest.approx(other, abs=1e-6)
