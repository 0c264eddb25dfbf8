"""Can the platform learn from a random policy's log what pays off only later? Two tasks of gymnasium, over HTTP alone.

The log is imported, fine-tunes are asked for until the greedy policy is good, and that one is played in the real task
by the batch endpoint. FrozenLake-v1 (slippery) is solved at a mean return of .70, CliffWalking at -13 in every episode.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import gymnasium
import httpx
import numpy as np

from benchmarks.serving import served_platform

PART: Final = 5000
MOST_ROWS: Final = 256
GREEDY: Final = {"strategy": "epsilon_greedy", "epsilon": 0.0, "floor": 0.0}


@dataclass(frozen=True, slots=True)
class Task:
    """An environment with a tabular state, how many random decisions of it are logged, and when it is solved.

    `reward_range` is the scale on which values are learned: about that of returns, not of the worst single reward.
    """

    name: str
    decisions: int
    solved: float
    most_steps: int
    reward_range: tuple[float, float]
    learning: dict[str, object]
    # Shares of the actions in the log.
    policy: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> "gymnasium.Env[int, int]":
        env: gymnasium.Env[int, int] = gymnasium.make(self.name, max_episode_steps=self.most_steps, **self.options)
        return env

    def loop(self) -> dict[str, object]:
        """Settings of a loop that learns when it is told to."""
        return {
            "problem_type": "episodic",
            "modalities": {"cell": {"kind": "text"}},
            "actions": [{"id": str(action)} for action in range(len(self.policy))],
            "reward": {"range": self.reward_range},
            "reward_wait_time": "P30D",
            "exploration": GREEDY,
            "learning": {"objective": "q_learning", "min_experiences": 1_000_000, "interval": "P30D"} | self.learning,
        }


@dataclass(frozen=True, slots=True)
class Imported:
    """Rows that were accepted, and the seconds until all of them were durable, and until all were experiences."""

    rows: int
    accepted_seconds: float
    joined_seconds: float


TASKS: Final = {
    "frozenlake": Task(
        "FrozenLake-v1",
        decisions=40_000,
        solved=0.70,
        most_steps=100,
        reward_range=(0.0, 1.0),
        learning={"discount": 0.99},
    ),
    "cliffwalking": Task(
        "CliffWalking-v1",
        decisions=15_000,
        solved=-13.0,
        most_steps=200,
        reward_range=(-20.0, 0.0),
        policy=(0.3, 0.4, 0.15, 0.15),
        learning={"discount": 0.95},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help="which of frozenlake, cliffwalking")
    parser.add_argument("--episodes", type=int, default=1000, help="played in the end")
    parser.add_argument("--runs", type=int, default=5, help="fine-tunes at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, served(Path(home)) as http:
        results = {name: solve(http, name, TASKS[name], options.runs, options.episodes) for name in options.tasks}
    print("EPISODES", json.dumps(results))
    sys.exit(0 if all(result["solved"] for result in results.values()) else 1)


@contextmanager
def served(home: Path) -> Iterator[httpx.Client]:
    """A client of a platform of its own, whose fine-tunes learn from all of a log: that is more than their default."""
    rows = max(task.decisions for task in TASKS.values())
    with served_platform(home, REWARDLOOP_REPLAY_EXPERIENCES=str(rows)) as (url, key, _):
        yield httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=600)


def solve(http: httpx.Client, loop_id: str, task: Task, runs: int, episodes: int) -> dict[str, object]:
    """Imports, fine-tunes, plays; the figures."""
    started = time.monotonic()
    http.put(f"/v1/loops/{loop_id}", json=task.loop()).raise_for_status()
    imported = import_log(http, loop_id, random_log(task))
    print(f"{loop_id}: {imported}", flush=True)
    details: list[str] = []
    mean = -np.inf
    while len(details) < runs and mean < task.solved:
        details.append(fine_tune(http, loop_id))
        mean = fmean(play(http, loop_id, task, min(episodes, MOST_ROWS)))
        print(f"{loop_id}: mean return {mean:.3f} after {time.monotonic() - started:.0f} s: {details[-1]}", flush=True)
    returns = play(http, loop_id, task, episodes, seed=1)
    return {
        "decisions": imported.rows,
        "rows_per_second_accepted": round(imported.rows / imported.accepted_seconds),
        "rows_per_second_joined": round(imported.rows / imported.joined_seconds),
        "mean_return": round(fmean(returns), 3),
        "worst_return": min(returns),
        "solved": fmean(returns) >= task.solved,
        "fine_tunes": len(details),
        "seconds": round(time.monotonic() - started),
    }


def random_log(task: Task, seed: int = 0) -> Iterator[dict[str, object]]:
    """Rows of an import: what a policy did that draws by these shares wherever it is."""
    env, generator = task.make(), np.random.default_rng(seed)
    made, episode = 0, 0
    while made < task.decisions:
        cell, _ = env.reset(seed=seed if episode == 0 else None)
        previous, is_over = None, False
        while not is_over and made < task.decisions:
            action = int(generator.choice(len(task.policy), p=task.policy))
            following, reward, terminated, truncated, _ = env.step(action)
            is_over, made = terminated or truncated, made + 1
            decision_id = f"random-{seed}-{made}"
            yield {
                "decision_id": decision_id,
                "context": {"cell": str(cell)},
                "action_id": str(action),
                "probability": task.policy[action],
                "reward": float(reward),
                "episode_id": f"random-{seed}-{episode}",
                "previous_decision_id": previous,
                "end": "terminated" if terminated else "truncated" if truncated else None,
            }
            cell, previous = following, decision_id
        episode += 1


def import_log(http: httpx.Client, loop_id: str, rows: Iterator[dict[str, object]]) -> Imported:
    """Sends the rows, and waits until they are joined."""
    lines = b"\n".join(json.dumps(row).encode() for row in rows)
    headers = {"Content-Type": "application/x-ndjson"}
    started = time.monotonic()
    report = http.post(f"/v1/loops/{loop_id}/experiences:import", content=lines, headers=headers)
    answer = report.raise_for_status().json()
    accepted_seconds = time.monotonic() - started
    assert not answer["skipped"], answer["skipped"][:3]
    while http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()["experiences"] < answer["accepted"]:
        time.sleep(0.05)
    return Imported(answer["accepted"], accepted_seconds, time.monotonic() - started)


def fine_tune(http: httpx.Client, loop_id: str) -> str:
    """What became of a run."""
    url = f"/v1/loops/{loop_id}/training-runs"
    run = http.post(url, json={}).raise_for_status().json()["training_run_id"]
    while True:
        answer: dict[str, Any] = http.get(f"{url}/{run}").raise_for_status().json()
        if answer["status"] in ("succeeded", "skipped", "failed"):
            return f"{answer['status']}: {answer['detail']}"
        time.sleep(0.2)


def play(http: httpx.Client, loop_id: str, task: Task, episodes: int, seed: int = 0) -> list[float]:
    """Returns of the loop's policy in the real environment, many episodes side by side."""
    returns: list[float] = []
    while len(returns) < episodes:
        count = min(MOST_ROWS, episodes - len(returns))
        returns += _play_together(http, loop_id, [task.make() for _ in range(count)], seed + len(returns))
    return returns


def _play_together(http: httpx.Client, loop_id: str, envs: list["gymnasium.Env[int, int]"], seed: int) -> list[float]:
    cells = {index: env.reset(seed=seed + index)[0] for index, env in enumerate(envs)}
    returns = [0.0] * len(envs)
    while cells:
        rows = [{"context": {"cell": str(cell)}} for cell in cells.values()]
        answer = http.post(f"/v1/loops/{loop_id}/decisions:batch", json={"decisions": rows}).raise_for_status().json()
        for index, decision in zip(list(cells), answer["decisions"], strict=True):
            cells[index], reward, terminated, truncated, _ = envs[index].step(int(decision["action_id"]))
            returns[index] += float(reward)
            if terminated or truncated:
                del cells[index]
    return returns


if __name__ == "__main__":
    main()
