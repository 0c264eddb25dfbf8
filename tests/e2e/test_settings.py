"""What a loop's settings say is what the platform does: one platform, a loop a setting, all over HTTP."""

import random
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.torch import load
from sklearn.decomposition import PCA

from shared.networks.preprocessing import embedding_features
from shared.registry.artifacts import ArtifactStore
from tests.e2e import product
from tests.e2e.conftest import Platform, until

COLOURS = ["red", "green", "blue"]
ACTIONS = [{"id": "left"}, {"id": "right"}]
QUICK = {"max_steps": 40}
EVEN = {"strategy": "epsilon_greedy", "epsilon": 1.0, "seed": 1}
# Too few for a report of the loop, which the next run would wait for.
VISITS = 45
# Of a colour and an action.
Reward = Callable[[str, str, random.Random], float]


@pytest.fixture(scope="module")
def home(shared_platform: Platform) -> Path:
    return shared_platform.home


def put(http: httpx.Client, loop_id: str, **settings: object) -> None:
    body = {
        "modalities": {"user": {"kind": "tabular"}, "words": {"kind": "text"}},
        "actions": ACTIONS,
        "exploration": EVEN,
        "learning": QUICK,
    }
    product.put(http, loop_id, body | settings)


def decide(http: httpx.Client, loop_id: str, colour: str = "red", **more: object) -> product.Answer:
    body = {"context": {"user": {"colour": colour}, "words": f"a {colour} shoe"}} | more
    decision: product.Answer = http.post(f"/v1/loops/{loop_id}/decisions", json=body).raise_for_status().json()
    return decision


def left_for_red(colour: str, action: str, _: random.Random) -> float:
    """Everything else is for the right."""
    return float((colour == "red") == (action == "left"))


def noisy_but_for_red(colour: str, _: str, generator: random.Random) -> float:
    """Whatever the action, red earns one half, everything else all or nothing."""
    return 0.5 if colour == "red" else float(generator.random() < 0.5)


def visit(http: httpx.Client, loop_id: str, count: int = VISITS, reward: Reward = left_for_red, first: int = 0) -> None:
    """Decisions with their feedback; `first` is the number of the first one, where a loop is visited again."""
    generator = random.Random(0)
    colours = generator.choices(COLOURS, k=count)
    # Draws are keyed by the ids too: with ids of its own every run of a test learns from other actions.
    batch = [
        {
            "decision_id": f"{loop_id}-{number}",
            "context": {"user": {"colour": colour}, "words": f"a {colour} shoe"},
        }
        for number, colour in enumerate(colours, first)
    ]
    url = f"/v1/loops/{loop_id}/decisions:batch"
    decisions = http.post(url, json={"decisions": batch}).raise_for_status().json()["decisions"]
    events = [
        {
            "decision_id": decision["decision_id"],
            "metric": "reward",
            "value": reward(colour, decision["action_id"], generator),
        }
        for colour, decision in zip(colours, decisions, strict=True)
    ]
    http.post(f"/v1/loops/{loop_id}/feedback", json=events).raise_for_status()


def version(http: httpx.Client, loop_id: str, number: str) -> product.Answer:
    answer: product.Answer = http.get(f"/v1/loops/{loop_id}/models/{number}").raise_for_status().json()
    return answer


def fine_tuned(http: httpx.Client, loop_id: str) -> product.Answer:
    """The version that a fine-tune made, whether it took over or not."""
    run = product.fine_tune(http, loop_id)
    assert run["model_version"] is not None, run
    return version(http, loop_id, run["model_version"])


def distribution(decision: product.Answer) -> dict[str, float]:
    return {row["id"]: row["probability"] for row in decision["ranking"]}


@pytest.mark.parametrize("strategy", ["attention", "weighted_sum", "shared_attention", "coupled_encoders"])
def test_fusion_is_the_one_that_the_settings_name_and_learns(http: httpx.Client, strategy: str) -> None:
    loop_id = f"fusion-{strategy}".replace("_", "-")
    put(http, loop_id, fusion={"strategy": strategy})
    visit(http, loop_id)
    made = fine_tuned(http, loop_id)
    first = version(http, loop_id, "1")
    assert made["architecture"]["fusion"] == first["architecture"]["fusion"] == {"strategy": strategy}
    assert made["parts"]["fusion"]["sha256"] != first["parts"]["fusion"]["sha256"]


def test_another_fusion_comes_with_the_next_version(http: httpx.Client) -> None:
    put(http, "changed", fusion={"strategy": "weighted_sum"})
    visit(http, "changed")
    put(http, "changed", fusion={"strategy": "coupled_encoders"})
    made = fine_tuned(http, "changed")
    assert made["architecture"]["fusion"] == {"strategy": "coupled_encoders"}
    assert version(http, "changed", "1")["architecture"]["fusion"] == {"strategy": "weighted_sum"}


def test_exploration_acts_within_two_seconds_and_as_its_strategy_says(http: httpx.Client) -> None:
    """The head has learned by then, without a fine-tune: red is for the left."""
    put(http, "exploring", close_on_first_feedback=True)
    until(lambda: decide(http, "exploring")["model_version"] == "1", "version 1 decides")
    visit(http, "exploring", 60)
    until(lambda: product.statistics(http, "exploring")["head_sequence"] == 60, "the head has learned")
    assert distribution(decide(http, "exploring")) == {"left": 0.5, "right": 0.5}

    def explores(settings: dict[str, object], low: float, high: float) -> None:
        put(http, "exploring", exploration=settings)
        until(lambda: low <= distribution(decide(http, "exploring"))["left"] <= high, f"{settings} act")

    explores({"strategy": "epsilon_greedy", "epsilon": 0.2, "floor": 0.0}, 0.9, 0.9)
    explores({"strategy": "epsilon_greedy", "epsilon": 0.0, "floor": 0.02}, 0.99, 0.99)
    explores({"strategy": "boltzmann", "temperature": 0.01, "floor": 0.0}, 0.999, 1.0)
    explores({"strategy": "boltzmann", "temperature": 1e6, "floor": 0.0}, 0.4999, 0.5001)
    explores({"strategy": "thompson", "floor": 0.0}, 0.6, 1.0)
    explores({"strategy": "ucb", "scale": 0.1, "floor": 0.0}, 1.0, 1.0)
    explores({"strategy": "squarecb", "gamma": 0.0, "floor": 0.0}, 0.4999, 0.5001)
    explores({"strategy": "squarecb", "gamma": 1e6, "floor": 0.0}, 0.99, 1.0)


def test_an_embedding_is_seen_by_its_principal_components(http: httpx.Client, home: Path) -> None:
    """Those of scikit-learn, but for the newest experiences, which a fine-tune does not read."""
    generator = np.random.default_rng(0)
    spread = np.diag([9.0, 6.0, 4.0, *np.linspace(0.5, 0.1, 17)])
    vectors = (generator.normal(size=(200, 20)) @ spread).astype(np.float32)
    modality = {"kind": "embedding", "dimension": 20, "components": 3}
    put(http, "embedded", modalities={"vector": modality})
    contexts = [{"context": {"vector": vector.tolist()}} for vector in vectors]
    url = "/v1/loops/embedded/decisions:batch"
    decisions = http.post(url, json={"decisions": contexts}).raise_for_status().json()["decisions"]
    events = [{"decision_id": one["decision_id"], "metric": "reward", "value": 1} for one in decisions]
    http.post("/v1/loops/embedded/feedback", json=events).raise_for_status()
    made = fine_tuned(http, "embedded")
    assert made["architecture"]["modalities"]["vector"]["components"] == 3
    weights = load(ArtifactStore(home / "artifacts").get(made["parts"]["encoding"]["sha256"]))
    read = np.stack([embedding_features(vector, 20) for vector in vectors])
    expected = PCA(3).fit(read).components_
    found = weights["views.0.components"].numpy()[:21].T
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1.0, atol=0.02)
    first = load(ArtifactStore(home / "artifacts").get(version(http, "embedded", "1")["parts"]["encoding"]["sha256"]))
    assert not np.allclose(first["views.0.components"].numpy()[:21].T, found)


def test_l2_sp_holds_a_version_near_the_one_before(http: httpx.Client) -> None:
    distances = []
    for loop_id, l2_sp in (("free", 0.0), ("held", 10.0)):
        put(http, loop_id, learning=QUICK | {"l2_sp": l2_sp, "learning_rate": 0.02})
        visit(http, loop_id)
        distances.append(fine_tuned(http, loop_id)["metrics"]["l2_sp_distance"])
    assert distances[1] < 0.8 * distances[0]


def test_the_schedule_has_as_many_steps_and_learns_as_fast_as_told(http: httpx.Client) -> None:
    losses = []
    for loop_id, rate, steps in (("fast", 1e-3, 100), ("slow", 1e-9, 30)):
        put(http, loop_id, learning={"learning_rate": rate, "max_steps": steps})
        visit(http, loop_id)
        made = fine_tuned(http, loop_id)
        assert made["metrics"]["steps"] == steps
        losses.append(made["metrics"]["training_loss"])
    assert losses[0] < 0.5 * losses[1]


def test_adapters_learn_while_encoders_and_fusion_stay(http: httpx.Client) -> None:
    sizes = []
    for loop_id, beta in (("adapted", 0.0), ("adapted-little", 10.0)):
        learning = QUICK | {"tune": "adapters", "adapter_rank": 4, "adapter_beta": beta, "learning_rate": 0.02}
        put(http, loop_id, learning=learning)
        visit(http, loop_id)
        made, first = fine_tuned(http, loop_id), version(http, loop_id, "1")
        assert made["architecture"]["adapter_rank"] == 4
        assert made["parts"]["fusion"]["sha256"] == first["parts"]["fusion"]["sha256"]
        assert made["parts"]["encoding"]["sha256"] != first["parts"]["encoding"]["sha256"]
        sizes.append(made["metrics"]["adapter_norm"])
    assert sizes[1] < 0.5 * sizes[0]


def test_adapters_start_from_a_version_without_any(http: httpx.Client) -> None:
    put(http, "late")
    visit(http, "late")
    put(http, "late", learning=QUICK | {"tune": "adapters"})
    made, first = fine_tuned(http, "late"), version(http, "late", "1")
    assert (first["architecture"]["adapter_rank"], made["architecture"]["adapter_rank"]) == (0, 8)
    assert made["parts"]["fusion"]["sha256"] == first["parts"]["fusion"]["sha256"]


def test_fine_tunes_come_by_themselves_after_enough_experiences_and_time(http: httpx.Client) -> None:
    enough: dict[str, object] = {"max_steps": 5, "min_experiences": 20, "interval": "PT0.5S"}

    def count(loop_id: str) -> int:
        runs = http.get(f"/v1/loops/{loop_id}/training-runs").raise_for_status().json()["items"]
        return sum(run["kind"] == "fine_tune" and run["finished_at"] is not None for run in runs)

    for loop_id, more in (("seldom", {"interval": "P30D"}), ("few", {"min_experiences": 500}), ("often", {})):
        put(http, loop_id, learning=enough | more)
        visit(http, loop_id, 25)
    until(lambda: count("often") == 1, "twenty are enough")
    assert (count("seldom"), count("few")) == (0, 0)
    for loop_id in ("seldom", "few"):
        put(http, loop_id, learning=enough)
        until(lambda of=loop_id: count(of) == 1, f"{loop_id} is due by its new settings")  # type: ignore[misc] # bound


def test_the_noise_of_outcomes_is_learned(http: httpx.Client) -> None:
    """By equation 15: an outcome's interval is wider where outcomes vary."""
    put(http, "varying", learning={"learning_rate": 5e-3, "max_steps": 150})
    visit(http, "varying", 250, noisy_but_for_red)
    made = fine_tuned(http, "varying")
    assert made["status"] == "ready", made["metrics"]

    def noise(colour: str) -> float:
        decision = decide(http, "varying", colour)
        assert decision["model_version"] == made["version"]
        (low, high), (outcome_low, outcome_high) = (decision["ranking"][0][k] for k in ("interval", "outcome_interval"))
        return float((outcome_high - outcome_low) ** 2 - (high - low) ** 2)

    assert noise("green") > 3 * noise("red")


def test_a_modality_that_goes_missing_leaves_what_the_other_tells(http: httpx.Client) -> None:
    put(http, "missing", learning={"learning_rate": 5e-3, "max_steps": 150})
    visit(http, "missing", 250)
    made = fine_tuned(http, "missing")
    assert made["status"] == "ready", made["metrics"]
    for colour, best in (("red", "left"), ("green", "right")):
        for context in ({"user": {"colour": colour}}, {"words": f"a {colour} shoe"}):
            decision = decide(http, "missing", context=context)
            assert decision["modalities_missing"] == [name for name in ("user", "words") if name not in context]
            expected = {row["id"]: row["expected_reward"] for row in decision["ranking"]}
            assert max(expected, key=lambda action: expected[action]) == best


def test_the_outcome_is_less_certain_than_its_expectation(http: httpx.Client) -> None:
    """The noise of equation 15 is added to what is not known of the expected reward."""
    put(http, "noisy")
    until(lambda: decide(http, "noisy")["model_version"] == "1", "version 1 decides")
    for row in decide(http, "noisy")["ranking"]:
        (low, high), (outcome_low, outcome_high) = row["interval"], row["outcome_interval"]
        # The Q-network's variance is one quarter until it has learned.
        assert ((outcome_high - outcome_low) / 2) ** 2 - ((high - low) / 2) ** 2 == pytest.approx(1.96**2 / 4, rel=1e-3)


def test_the_baseline_is_given_while_the_best_action_is_too_uncertain(http: httpx.Client) -> None:
    exploration = {"strategy": "epsilon_greedy", "epsilon": 1.0, "floor": 0.0, "seed": 1}
    put(http, "careful", exploration=exploration | {"abstain_below": 0.3})
    until(lambda: decide(http, "careful")["model_version"] == "1", "version 1 decides")
    given = decide(http, "careful", baseline_action_id="right")
    assert (given["action_id"], given["probability"], given["fallback_reason"]) == ("right", 1.0, "uncertain")
    assert distribution(given) == {"left": 0.0, "right": 1.0}
    assert decide(http, "careful")["fallback_reason"] is None
    excluded = decide(http, "careful", baseline_action_id="right", excluded_action_ids=["right"])
    assert (excluded["action_id"], excluded["fallback_reason"]) == ("left", None)
    visit(http, "careful", 200)
    until(
        lambda: decide(http, "careful", baseline_action_id="right")["fallback_reason"] is None,
        "the head knows enough of red",
    )
    put(http, "careful", exploration=exploration | {"abstain_below": 5.0})
    until(
        lambda: decide(http, "careful", baseline_action_id="right")["fallback_reason"] == "uncertain",
        "asks for more",
        2,
    )


def test_reward_guided_learns_the_distribution_itself(http: httpx.Client) -> None:
    """Its softmax is what is drawn from, with the floor, whatever exploration would have made of the scores."""
    learning = {"objective": "reward_guided", "learning_rate": 5e-3, "max_steps": 150}
    put(http, "guided", learning=learning, exploration=EVEN | {"floor": 0.02})
    visit(http, "guided", 200)
    made = fine_tuned(http, "guided")
    assert made["settings"]["learning"]["objective"] == "reward_guided"
    assert made["status"] == "ready", made["metrics"]
    until(lambda: decide(http, "guided")["model_version"] == made["version"], "the version decides")
    for colour, best in (("red", "left"), ("green", "right")):
        decision = decide(http, "guided", colour)
        assert 0.8 < distribution(decision)[best] <= 0.99
        assert {row["id"]: row["expected_reward"] for row in decision["ranking"]}[best] > 0.8


def test_reward_guided_needs_actions_that_are_listed(http: httpx.Client) -> None:
    body = {"modalities": {"words": {"kind": "text"}}, "learning": {"objective": "reward_guided"}}
    answer = http.put("/v1/loops/unlisted", json=body)
    assert answer.status_code == 422
    assert "reward_guided" in answer.json()["detail"]
