"""What a loop's settings make of its decisions before any fine-tune: candidates, values, ranges, draws; over HTTP."""

import httpx
import pytest

from shared.security import draw_seed
from tests.e2e import product
from tests.e2e.conftest import until
from tests.e2e.product import Answer

EVEN = {"strategy": "epsilon_greedy", "epsilon": 1.0, "floor": 0.0}
VECTOR = [1.0, 0.0, 2.0]


def put(http: httpx.Client, loop_id: str, **settings: object) -> Answer:
    body = {
        "modalities": {"vector": {"kind": "embedding", "dimension": 3}},
        "actions": [{"id": "a"}, {"id": "b"}],
        "exploration": EVEN,
    }
    loop: Answer = product.put(http, loop_id, body | settings)
    return loop


def decide(http: httpx.Client, loop_id: str, **more: object) -> Answer:
    body = {"context": {"vector": VECTOR}} | more
    decision: Answer = http.post(f"/v1/loops/{loop_id}/decisions", json=body).raise_for_status().json()
    return decision


def decided_by_a_version(http: httpx.Client, loop_id: str, **more: object) -> Answer:
    until(lambda: decide(http, loop_id, **more)["model_version"] is not None, "a version decides")
    return decide(http, loop_id, **more)


def expected(decision: Answer) -> dict[str, float]:
    return {row["id"]: row["expected_reward"] for row in decision["ranking"]}


def test_an_embedding_has_as_many_numbers_as_its_dimension(http: httpx.Client) -> None:
    for loop_id, dimension, other in (("three", 3, 2), ("two", 2, 3)):
        put(http, loop_id, modalities={"vector": {"kind": "embedding", "dimension": dimension}})
        decision = decided_by_a_version(http, loop_id, context={"vector": [1.0] * dimension})
        assert decision["modalities_used"] == ["vector"]
        refused = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": {"vector": [1.0] * other}})
        assert (refused.status_code, refused.json()["field"]) == (422, "context.vector")


def test_listed_actions_are_the_candidates(http: httpx.Client) -> None:
    put(http, "listed")
    assert set(expected(decide(http, "listed"))) == {"a", "b"}
    put(http, "listed", actions=[{"id": "b"}, {"id": "c"}, {"id": "d"}])
    assert set(expected(decide(http, "listed"))) == {"b", "c", "d"}


def test_features_of_listed_actions_tell_of_actions_that_nobody_has_seen(http: httpx.Client) -> None:
    """The cheap one pays, and so is another one expected to that costs as little; ids alone tell nothing of it."""
    prices = {"cheap": 1, "dear": 900}
    for loop_id, features in (("featured", True), ("named", False)):
        actions = [
            {"id": name} | ({"features": {"price": price}} if features else {}) for name, price in prices.items()
        ]
        put(http, loop_id, actions=actions)
        architecture = http.get(f"/v1/loops/{loop_id}/models/1").raise_for_status().json()["architecture"]
        assert architecture["action_features"] == features
        rows = [{"context": {"vector": VECTOR}}] * 40
        url = f"/v1/loops/{loop_id}"
        made = http.post(f"{url}/decisions:batch", json={"decisions": rows}).raise_for_status().json()["decisions"]
        events = [
            {"decision_id": one["decision_id"], "metric": "reward", "value": one["action_id"] == "cheap"}
            for one in made
        ]
        http.post(f"{url}/feedback", json=events).raise_for_status()
        until(lambda of=loop_id: product.statistics(http, of)["head_sequence"] == 40, "the head has learned")  # type: ignore[misc] # bound
        unseen = [{"id": f"new-{name}", "features": {"price": price}} for name, price in prices.items()]
        scores = expected(decide(http, loop_id, actions=unseen))
        if features:
            assert scores["new-cheap"] > scores["new-dear"] + 0.3
        else:
            assert scores["new-cheap"] == scores["new-dear"]


def test_scores_are_in_the_unit_of_the_rewards_range(http: httpx.Client) -> None:
    """A version that has learned nothing expects the least, and is twenty times as unsure of twenty times as much."""
    widths = []
    for loop_id, low, high in (("unit", 0, 1), ("wide", 10, 30)):
        put(http, loop_id, reward={"range": [low, high]})
        row = decided_by_a_version(http, loop_id)["ranking"][0]
        assert row["expected_reward"] == low
        widths.append(row["interval"][1] - row["interval"][0])
    assert widths[1] == pytest.approx(20 * widths[0], rel=1e-6)


def test_a_seed_makes_draws_that_can_be_foretold(http: httpx.Client) -> None:
    chosen = []
    for seed in (3, 4):
        put(http, "drawn", exploration=EVEN | {"seed": seed})
        ids = [f"seed-{seed}-{number}" for number in range(40)]
        foretold = ["ab"[draw_seed(str(seed).encode(), "default", "drawn", one) >> 63] for one in ids]
        chosen.append([decide(http, "drawn", decision_id=one)["action_id"] for one in ids])
        assert chosen[-1] == foretold
    assert chosen[0] != chosen[1]


def test_the_seed_of_learning_makes_the_first_weights(http: httpx.Client) -> None:
    def weights(loop_id: str, **settings: object) -> str:
        put(http, loop_id, **settings)
        parts = http.get(f"/v1/loops/{loop_id}/models/1").raise_for_status().json()["parts"]
        return str(parts["encoding"]["sha256"])

    first = weights("seed-5", learning={"seed": 5})
    assert weights("seed-5-again", learning={"seed": 5}) == first
    assert weights("seed-6", learning={"seed": 6}) != first
