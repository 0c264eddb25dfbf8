"""Episodes over HTTP: a log is imported, Q-learning finds the way, and each setting changes what the platform does."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks.episodes import GREEDY, Task, import_log, play, random_log
from tests.e2e import product
from tests.e2e.conftest import until

LAKE = Task(
    "FrozenLake-v1",
    decisions=1500,
    solved=1.0,
    most_steps=100,
    reward_range=(0.0, 1.0),
    learning={"discount": 0.9, "max_steps": 400, "target_update_steps": 25},
    policy=(0.15, 0.35, 0.35, 0.15),
    options={"is_slippery": False},
)
CELLS = ("start", "middle", "end")
Answer = dict[str, Any]


def put_line(http: httpx.Client, loop_id: str, **more: Any) -> None:
    """A loop of two actions, of which `go` leads along the cells and pays in the last one."""
    learning = {"objective": "q_learning", "discount": 0.5, "target_update_steps": 25, "max_steps": 150}
    body = {
        "problem_type": "episodic",
        "modalities": {"cell": {"kind": "text"}},
        "actions": [{"id": "go"}, {"id": "stay"}],
        "reward_wait_time": "PT1H",
        "exploration": GREEDY,
        "learning": learning | {"min_experiences": 1_000_000} | more.pop("learning", {}),
    }
    product.put(http, loop_id, body | more)


def line_rows(episodes: int) -> Iterator[dict[str, object]]:
    """Every second episode goes all the way; the others stay, which ends them at once."""
    for episode in range(episodes):
        of: Answer = {"episode_id": f"e{episode}", "probability": 0.5}
        if episode % 2:
            stays = {"context": {"cell": CELLS[0]}, "action_id": "stay", "reward": 0, "end": "terminated"}
            yield of | stays | {"decision_id": f"d{episode}"}
            continue
        for step, cell in enumerate(CELLS):
            previous = f"d{episode}-{step - 1}" if step else None
            is_last = step == len(CELLS) - 1
            goes = {"context": {"cell": cell}, "action_id": "go", "reward": float(is_last)}
            ends = {"end": "terminated" if is_last else None, "previous_decision_id": previous}
            yield of | goes | ends | {"decision_id": f"d{episode}-{step}"}


def expected(http: httpx.Client, loop_id: str, cell: str) -> dict[str, float]:
    body = {"context": {"cell": cell}, "episode_id": "asked"}
    ranking = http.post(f"/v1/loops/{loop_id}/decisions", json=body).raise_for_status().json()["ranking"]
    return {action["id"]: action["expected_reward"] for action in ranking}


def learned(http: httpx.Client, loop_id: str, **more: Any) -> dict[str, float]:
    """What a loop expects at the start, after an import and a fine-tune."""
    put_line(http, loop_id, **more)
    import_log(http, loop_id, line_rows(200))
    assert product.fine_tune(http, loop_id)["status"] == "succeeded"
    until(lambda: expected(http, loop_id, "end")["go"] > 0.5, "the version serves")
    return expected(http, loop_id, "start")


def test_a_random_log_solves_the_frozen_lake(http: httpx.Client) -> None:
    product.put(http, "lake", LAKE.loop())
    assert import_log(http, "lake", random_log(LAKE)).rows == LAKE.decisions
    assert import_log(http, "lake", random_log(LAKE)).rows == 0
    returns: list[float] = []
    for _ in range(5):
        product.fine_tune(http, "lake")
        returns = play(http, "lake", LAKE, episodes=4)
        if min(returns) == LAKE.solved:
            break
    assert returns == [LAKE.solved] * 4


def weights(http: httpx.Client, loop_id: str) -> str:
    """Of the encoders that a fine-tune made: the same experiences, settings and seed give the same."""
    sha256: str = http.get(f"/v1/loops/{loop_id}/models/2").raise_for_status().json()["parts"]["encoding"]["sha256"]
    return sha256


def test_settings_of_q_learning_change_what_is_expected_and_learned(http: httpx.Client) -> None:
    """Two steps before the prize it is worth γ²; the target network acts on what the networks learn."""
    assert learned(http, "far")["go"] == pytest.approx(0.25, abs=0.05)
    assert learned(http, "near", learning={"discount": 0.0})["go"] == pytest.approx(0.0, abs=0.05)
    assert learned(http, "twin")["go"] == pytest.approx(0.25, abs=0.05)
    assert weights(http, "twin") == weights(http, "far")
    assert learned(http, "still", learning={"target_update_steps": 100_000})["go"] == pytest.approx(0.25, abs=0.05)
    assert weights(http, "still") != weights(http, "far")


def test_double_q_learning_learns_otherwise_where_the_networks_disagree_on_what_is_best(http: httpx.Client) -> None:
    for loop_id, double_q in (("lake-single", False), ("lake-double", True)):
        loop = LAKE.loop()
        loop["learning"] = {**LAKE.learning, "objective": "q_learning", "double_q": double_q, "max_steps": 100}
        product.put(http, loop_id, loop)
        import_log(http, loop_id, random_log(LAKE))
        product.fine_tune(http, loop_id)
    assert weights(http, "lake-double") != weights(http, "lake-single")


def test_the_head_of_q_learning_counts_experiences_and_waits_for_the_next_version(http: httpx.Client) -> None:
    before = learned(http, "waits")
    sequence = http.get("/v1/loops/waits/statistics").json()["experiences"]
    for _ in range(20):
        decision = http.post("/v1/loops/waits/decisions", json={"context": {"cell": "start"}}).json()["decision_id"]
        http.post("/v1/loops/waits/feedback", json={"decision_id": decision, "metric": "reward", "value": 1})

    def head_sequence() -> int:
        decision_id = http.post("/v1/loops/waits/decisions", json={"context": {"cell": "start"}}).json()["decision_id"]
        until(lambda: http.get(f"/v1/loops/waits/decisions/{decision_id}").status_code == 200, "it is joined")
        number: int = http.get(f"/v1/loops/waits/decisions/{decision_id}").json()["head_sequence"]
        return number

    until(lambda: head_sequence() == sequence + 20, "the head has counted them")
    assert expected(http, "waits", "start") == before


def test_only_an_episodic_problem_has_episodes_that_end(http: httpx.Client) -> None:
    body = {"end": "terminated", "decision_id": "d"}
    for problem_type, status in (("cb", 422), ("episodic", 202)):
        loop = {"problem_type": problem_type, "modalities": {"cell": {"kind": "text"}}, "actions": [{"id": "go"}]}
        product.put(http, "problem", loop)
        assert http.post("/v1/loops/problem/episodes/e/end", json=body).status_code == status


def test_an_end_after_the_timeout_is_a_truncation(http: httpx.Client) -> None:
    for loop_id, timeout, end in (("patient", "PT1H", "terminated"), ("hasty", "PT0.001S", "truncated")):
        put_line(http, loop_id, episode_timeout=timeout)
        decision = http.post(f"/v1/loops/{loop_id}/decisions", json={"episode_id": "e"}).json()["decision_id"]
        for _ in range(2):
            body = {"end": "terminated", "decision_id": decision}
            assert http.post(f"/v1/loops/{loop_id}/episodes/e/end", json=body).status_code == 202
        url = f"/v1/loops/{loop_id}/decisions/{decision}"
        until(lambda url=url, end=end: http.get(url).json().get("end") == end, "the end is stored")  # type: ignore[misc] # bound


def test_bad_lines_are_told_and_the_rest_taken(http: httpx.Client) -> None:
    put_line(http, "mixed")
    lines = b'{"decision_id": "a", "action_id": "go", "reward": 1}\nnot json\n{"decision_id": "b", "action_id": "fly"}'
    url, headers = "/v1/loops/mixed/experiences:import", {"Content-Type": "application/x-ndjson"}
    report = http.post(url, content=lines, headers=headers).raise_for_status().json()
    assert (report["accepted"], [one["line"] for one in report["skipped"]]) == (1, [2, 3])
    until(lambda: http.get("/v1/loops/mixed/experiences").json()["items"] != [], "it is joined")
    (experience,) = http.get("/v1/loops/mixed/experiences").json()["items"]
    assert (experience["decision_id"], experience["probability"], experience["reward"]) == ("a", None, 1.0)
