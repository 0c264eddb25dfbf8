"""A clip is one value of the context: what moves which way is learned from the reward alone."""

import base64
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import av
import httpx
import numpy as np

from tests.e2e import product
from tests.e2e.conftest import Platform, until

LOOP = "clips"
SIDE, FRAMES = 32, 8
# Which way is even: who does not see it earns one half.
SEES = 0.75
SETTINGS = {
    "modalities": {"clip": {"kind": "video"}},
    "actions": [{"id": "left"}, {"id": "right"}],
    "learning": {"max_steps": 150},
}


def clips(seed: int = 0) -> Iterator[tuple[bytes, str]]:
    """Endless: a bright bar that moves left or right by a pixel or two a frame; no one frame tells which."""
    generator = np.random.default_rng(seed)
    while True:
        step = int(generator.choice([-2, -1, 1, 2]))
        start, width = generator.integers(0, SIDE), generator.integers(3, 9)
        out = BytesIO()
        with av.open(out, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            for frame in range(FRAMES):
                image = np.zeros((SIDE, SIDE, 3), np.uint8)
                image[:, (start + step * frame + np.arange(width)) % SIDE] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            container.mux(stream.encode(None))
        yield out.getvalue(), "left" if step < 0 else "right"


def context(data: bytes, content_type: str = "video/mp4") -> dict[str, object]:
    return {"context": {"clip": {"data": base64.b64encode(data).decode(), "content_type": content_type}}}


def show(http: httpx.Client, loop_id: str, data: bytes, content_type: str = "video/mp4") -> httpx.Response:
    return http.post(f"/v1/loops/{loop_id}/decisions", json=context(data, content_type))


def visits(http: httpx.Client, shown: list[tuple[bytes, str]]) -> list[float]:
    """The rewards."""
    batch = {"decisions": [context(data) for data, _ in shown]}
    answer = http.post(f"/v1/loops/{LOOP}/decisions:batch", json=batch, timeout=60).raise_for_status().json()
    pairs = list(zip(answer["decisions"], (right for _, right in shown), strict=True))
    rewards = [float(decision["action_id"] == right) for decision, right in pairs]
    events = [
        {"decision_id": decision["decision_id"], "metric": "reward", "value": reward}
        for (decision, _), reward in zip(pairs, rewards, strict=True)
    ]
    http.post(f"/v1/loops/{LOOP}/feedback", json=events).raise_for_status()
    return rewards


def test_learns_from_clips_which_way_something_moves(shared_platform: Platform) -> None:
    stream = clips()
    with shared_platform.client() as http:
        product.put(http, LOOP, SETTINGS)
        for _ in range(4):
            rewards = [reward for _ in range(5) for reward in visits(http, list(islice(stream, 50)))]
            if np.mean(rewards[-100:]) > SEES:
                return
            assert product.fine_tune(http, LOOP)["status"] in {"succeeded", "skipped"}
    raise AssertionError(f"the last 100 earned {np.mean(rewards[-100:])}")


def test_takes_real_clips_by_value_and_by_reference_and_refuses_what_is_none(
    shared_platform: Platform, shared_data: Path
) -> None:
    loop_id, data = "real-clips", (shared_data / "video" / "bigbuckbunny.mp4").read_bytes()
    with shared_platform.client() as http:
        product.put(http, loop_id, SETTINGS)
        until(lambda: show(http, loop_id, data).raise_for_status().json()["model_version"] == "1", "version 1 decides")
        stored = http.post("/v1/media", content=data, headers={"Content-Type": "video/mp4"}).raise_for_status().json()
        context = {"clip": {"media_id": stored["media_id"]}}
        decision = http.post(f"/v1/loops/{loop_id}/decisions", json={"context": context}).raise_for_status().json()
        assert decision["modalities_used"] == ["clip"]
        assert decision["fallback_reason"] is None
        cut = show(http, loop_id, data[:5000])
        assert (cut.status_code, cut.json()["field"]) == (422, "context.clip")
        sound = show(http, loop_id, b"RIFF", "audio/wav")
        assert (sound.status_code, sound.json()["type"]) == (422, "urn:rewardloop:problem:not-a-video")
