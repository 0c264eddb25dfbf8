"""A product that leaves something to see on every page: all kinds of media, segments, evaluations."""

import base64
import io
from collections.abc import Iterator
from itertools import islice

import av
import httpx
import numpy as np
import soundfile

from tests.e2e import product
from tests.e2e.conftest import until

LOOP = "every-medium"
# Decisions that are all applauded, before the first fine-tune.
APPLAUDED = 60
GREETINGS = {"NL": "hallo", "DE": "moin", "FR": "salut"}
SETTINGS: dict[str, object] = {
    "modalities": {
        "photo": {"kind": "image"},
        "sound": {"kind": "audio"},
        "clip": {"kind": "video"},
        "title": {"kind": "text"},
        "visitor": {"kind": "tabular"},
    },
    "actions": [{"id": name} for name in GREETINGS.values()],
    "reward": {"metrics": {"correct": {"weight": 1.0}}},
    "reward_wait_time": "PT1S",
    "fairness": {"segments": ["visitor.country"], "min_decisions": 10},
    "learning": {"max_steps": 20},
    "exploration": {"floor": 0.2},
}


def visits(seed: int = 0) -> Iterator[tuple[product.Answer, str]]:
    """A decision's request and what is right, by the visitor's country. Every fifth comes without a title."""
    media = {"sound": _media(_sound(), "audio/wav"), "clip": _media(_clip(), "video/mp4")}
    countries = np.random.default_rng(seed).choice(list(GREETINGS), 100_000)
    for number, (visit, country) in enumerate(zip(product.visits(seed), countries, strict=False)):
        visitor = {"country": str(country), "age": 20 + number % 50}
        context = {"photo": _media(visit.picture, "image/png"), "visitor": visitor} | media
        if number % 5:
            context["title"] = f"Digit number {number}"
        request = {
            "context": context,
            "baseline_action_id": "hallo",
            "subject_id": f"visitor-{number}",
            "explain": True,
        }
        yield request, GREETINGS[country]


def fill(http: httpx.Client, decisions: int) -> None:
    """Decisions with their feedback, a fine-tune, and evaluations of both yardsticks."""
    product.put(http, LOOP, SETTINGS)
    stream = visits()
    serve(http, ((request, None) for request, _ in stream), APPLAUDED)
    product.wait_for_experiences(http, LOOP, APPLAUDED)
    # It makes version 2, whatever the gate says of it.
    product.fine_tune(http, LOOP)
    serve(http, stream, decisions)
    product.wait_for_experiences(http, LOOP, APPLAUDED + decisions)
    for target in ("baseline", "uniform"):
        http.post(f"/v1/loops/{LOOP}/evaluations", json={"target": target}).raise_for_status()
    until(lambda: all(one["status"] == "succeeded" for one in items(http, "evaluations")), "evaluations end", 120)
    until(lambda: statistics_are_reported(http), "there is a report", 120)


def serve(http: httpx.Client, stream: Iterator[tuple[product.Answer, str | None]], number: int) -> None:
    """What is right earns 1, and so does everything where nobody says what is right."""
    for request, right in islice(stream, number):
        decision = http.post(f"/v1/loops/{LOOP}/decisions", json=request).raise_for_status().json()
        reward = float(right is None or decision["action_id"] == right)
        event = {"decision_id": decision["decision_id"], "metric": "correct", "value": reward}
        http.post(f"/v1/loops/{LOOP}/feedback", json=event).raise_for_status()


def items(http: httpx.Client, what: str) -> list[product.Answer]:
    """The newest of a list of the loop's."""
    found: list[product.Answer] = http.get(f"/v1/loops/{LOOP}/{what}").raise_for_status().json()["items"]
    return found


def statistics_are_reported(http: httpx.Client) -> bool:
    return product.statistics(http, LOOP)["reported"] is not None


def _media(data: bytes, content_type: str) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode(), "content_type": content_type}


def _sound() -> bytes:
    """A tenth of a second of 440 Hz."""
    out = io.BytesIO()
    soundfile.write(out, 0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000), 16000, format="WAV")
    return out.getvalue()


def _clip() -> bytes:
    """A bar that moves to the right."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in range(8):
            image = np.zeros((32, 32, 3), np.uint8)
            image[:, 3 * frame : 3 * frame + 4] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()
