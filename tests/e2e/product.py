"""A product under test: shows scanned digits, and says whether the chosen class was right."""

import base64
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = [f"class-{digit}" for digit in range(10)]


@dataclass(frozen=True)
class Visit:
    picture: bytes
    right: str


def visits(count: int, seed: int = 0) -> Iterator[Visit]:
    digits = load_digits()
    for index in np.random.default_rng(seed).permutation(len(digits.target))[:count]:
        picture = io.BytesIO()
        Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8)).save(picture, "PNG")
        yield Visit(picture.getvalue(), CLASSES[digits.target[index]])


def put_loop(http: httpx.Client, loop_id: str, **settings: object) -> None:
    body = {
        "modalities": {"photo": {"kind": "image"}},
        "actions": [{"id": name} for name in CLASSES],
        "reward": {"metrics": {"correct": {"weight": 1.0}}},
    }
    http.put(f"/v1/loops/{loop_id}", json=body | settings).raise_for_status()


def decide(http: httpx.Client, loop_id: str, visit: Visit, **more: object) -> dict[str, object]:
    photo = {"data": base64.b64encode(visit.picture).decode(), "content_type": "image/png"}
    answer = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": {"photo": photo}} | more)
    decision: dict[str, object] = answer.raise_for_status().json()
    return decision


def tell(http: httpx.Client, loop_id: str, decision: dict[str, object], visit: Visit, **more: object) -> float:
    reward = float(decision["action_id"] == visit.right)
    event = {"decision_id": decision["decision_id"], "metric": "correct", "value": reward}
    http.post(f"/v1/loops/{loop_id}/feedback", json=event | more).raise_for_status()
    return reward


def statistics(http: httpx.Client, loop_id: str) -> dict[str, object]:
    answer: dict[str, object] = http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()
    return answer


def wait_for_experiences(http: httpx.Client, loop_id: str, count: int, seconds: float = 20) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while (now := statistics(http, loop_id))["experiences"] != count:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def fine_tune(http: httpx.Client, loop_id: str, seconds: float = 120) -> dict[str, object]:
    """Asks for a fine-tune and waits for its end."""
    run = http.post(f"/v1/loops/{loop_id}/training-runs", json={}).raise_for_status().json()["training_run_id"]
    deadline = time.monotonic() + seconds
    while True:
        answer: dict[str, object] = http.get(f"/v1/loops/{loop_id}/training-runs/{run}").raise_for_status().json()
        if answer["status"] in ("succeeded", "failed", "skipped"):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
