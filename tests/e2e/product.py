"""A product under test: shows scanned digits, and says whether the chosen class was right."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.e2e.conftest import until

# JSON, whatever it holds.
Answer = dict[str, Any]

CLASSES = [f"class-{digit}" for digit in range(10)]


@dataclass(frozen=True)
class Visit:
    picture: bytes
    right: str


def visits(seed: int = 0) -> Iterator[Visit]:
    """Endless: every digit once before any twice."""
    digits, generator = load_digits(), np.random.default_rng(seed)
    while True:
        for index in generator.permutation(len(digits.target)):
            picture = io.BytesIO()
            Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8)).save(picture, "PNG")
            yield Visit(picture.getvalue(), CLASSES[digits.target[index]])


def put_loop(http: httpx.Client, loop_id: str, **settings: object) -> None:
    body = {
        "modalities": {"photo": {"kind": "image"}},
        "actions": [{"id": name} for name in CLASSES],
        "reward": {"metrics": {"correct": {"weight": 1.0}}},
    }
    put(http, loop_id, body | settings)


def put(http: httpx.Client, loop_id: str, body: Answer) -> Answer:
    """The loop; returns once a version decides, which on a busy machine takes longer than the gateway waits."""
    loop: Answer = http.put(f"/v1/loops/{loop_id}", json=body, timeout=60).raise_for_status().json()

    def decides() -> bool:
        # A run has succeeded once its version serves.
        runs = http.get(f"/v1/loops/{loop_id}/training-runs").raise_for_status().json()["items"]
        return any(run["status"] == "succeeded" for run in runs)

    until(decides, f"a version of {loop_id} decides", 120)
    return loop


def decide(http: httpx.Client, loop_id: str, visit: Visit, **more: object) -> Answer:
    photo = {"data": base64.b64encode(visit.picture).decode(), "content_type": "image/png"}
    answer = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": {"photo": photo}} | more)
    decision: Answer = answer.raise_for_status().json()
    return decision


def tell(http: httpx.Client, loop_id: str, decision: Answer, visit: Visit, **more: object) -> float:
    reward = float(decision["action_id"] == visit.right)
    event = {"decision_id": decision["decision_id"], "metric": "correct", "value": reward}
    http.post(f"/v1/loops/{loop_id}/feedback", json=event | more).raise_for_status()
    return reward


def statistics(http: httpx.Client, loop_id: str) -> Answer:
    answer: Answer = http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()
    return answer


def wait_for_experiences(http: httpx.Client, loop_id: str, count: int) -> Answer:
    """Statistics as soon as so many are joined."""
    until(lambda: statistics(http, loop_id)["experiences"] == count, f"{count} experiences of {loop_id} are joined")
    return statistics(http, loop_id)


def fine_tune(http: httpx.Client, loop_id: str) -> Answer:
    """Asks for a fine-tune and waits for its end."""
    run = http.post(f"/v1/loops/{loop_id}/training-runs", json={}).raise_for_status().json()["training_run_id"]

    def now() -> Answer:
        answer: Answer = http.get(f"/v1/loops/{loop_id}/training-runs/{run}").raise_for_status().json()
        return answer

    until(lambda: now()["status"] in ("succeeded", "failed", "skipped"), f"the fine-tune of {loop_id} ends", 180)
    return now()


def learn_until_a_version_takes_over(http: httpx.Client, loop_id: str, stream: Iterator[Visit], batch: int) -> int:
    """Traffic and fine-tunes until the gate lets one through; the number of visits that it took."""
    for attempt in range(1, 7):
        for visit in islice(stream, batch):
            tell(http, loop_id, decide(http, loop_id, visit), visit)
        if (run := fine_tune(http, loop_id))["status"] == "succeeded":
            return attempt * batch
        assert run["status"] == "skipped", run
    raise AssertionError("the gate turned down six versions")
