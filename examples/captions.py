"""A product that captions pictures: actions are candidate captions, feedback is what a person would have written.

Starts the platform and sends drawn pictures of coloured shapes. Nobody tells which caption was right: the reward of
the chosen one is equation 16 of the book, α · BLEU + β · Detail - γ · Length, against the reference that comes back.
"""

import argparse
import base64
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console

from examples.digits_and_questions import WINDOW, Ledger, platform, show_result, wait_until_ready
from shared.functional.rewards import captioning_reward

LOOP = "captions"
SIDE = 32
COLOURS = {"red": (214, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220)}
SHAPES = ("circle", "square", "triangle")
CAPTIONS = [f"a {colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]
# The last one says little, the one before it too much.
CAPTIONS += ["a picture of some shape in some colour that stands somewhere on white", "a shape"]
REFERENCES = ("a {colour} {shape}", "a {colour} {shape} on white", "one {colour} {shape}")
WEIGHTS = {"alpha": 1.0, "beta": 0.5, "gamma": 0.5}
SETTINGS = {
    "modalities": {"picture": {"kind": "image"}},
    "actions": [{"id": f"c{number}", "features": {"caption": text}} for number, text in enumerate(CAPTIONS)],
    "reward": {"metrics": {"caption": {"scorer": {"kind": "captioning", **WEIGHTS}}}},
    "learning": {"interval": "PT5S", "min_experiences": 100},
}
PAGE = 200


@dataclass(frozen=True)
class Picture:
    """A drawing as PNG, and how a person describes it."""

    png: bytes
    reference: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=12.0, help="decisions per second")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    options = parser.parse_args()
    console = Console(highlight=False)
    home = Path(os.environ.get("REWARDLOOP_HOME", "var/captions"))
    shutil.rmtree(home, ignore_errors=True)
    with platform(home) as (process, url), httpx.Client(base_url=url, timeout=60) as http:
        wait_until_ready(http, process)
        http.headers["Authorization"] = f"Bearer {(home / 'bootstrap.key').read_text().strip()}"
        http.put(f"/v1/loops/{LOOP}", json=SETTINGS).raise_for_status()
        started = time.monotonic()
        for number, picture in enumerate(islice(pictures(options.seed), options.decisions), 1):
            one_visit(http, picture)
            if number % WINDOW == 0:
                console.print(f"decision {number:5,}: {reward_so_far(http)}")
            time.sleep(max(0.0, started + number / options.rate - time.monotonic()))
        ledger = joined_ledger(http, options.decisions)
    show_result(console, ledger)
    result = {
        "decisions": options.decisions,
        "reward_even_choice": round(even_choice(), 4),
        "reward_first_200": round(float(np.mean(ledger.rewards[:WINDOW])), 4),
        "reward_last_200": round(ledger.recent(), 4),
    }
    print("CAPTIONS", json.dumps(result))


def pictures(seed: int) -> Iterator[Picture]:
    """An endless seeded stream: shapes of any place and size, described in one of several ways."""
    generator = np.random.default_rng(seed)
    while True:
        colour, shape = str(generator.choice(list(COLOURS))), str(generator.choice(SHAPES))
        reference = str(generator.choice(REFERENCES)).format(colour=colour, shape=shape)
        yield Picture(drawing(colour, shape, generator), reference)


def drawing(colour: str, shape: str, generator: np.random.Generator) -> bytes:
    """PNG of one shape on white."""
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(picture)
    size = int(generator.integers(14, 22))
    left, top = (int(place) for place in generator.integers(1, SIDE - size, 2))
    right, bottom = left + size, top + size
    match shape:
        case "circle":
            draw.ellipse((left, top, right, bottom), COLOURS[colour])
        case "square":
            draw.rectangle((left, top, right, bottom), COLOURS[colour])
        case "triangle":
            draw.polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], COLOURS[colour])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def one_visit(http: httpx.Client, picture: Picture) -> None:
    """Has a caption chosen, and tells what a person wrote."""
    body = {"context": context_of(picture)}
    decision = http.post(f"/v1/loops/{LOOP}/decisions", json=body).raise_for_status().json()
    feedback = {"decision_id": decision["decision_id"], "metric": "caption", "value": picture.reference}
    http.post(f"/v1/loops/{LOOP}/feedback", json=feedback).raise_for_status()


def context_of(picture: Picture) -> dict[str, object]:
    """As a decision's request holds it."""
    return {"picture": {"data": base64.b64encode(picture.png).decode(), "content_type": "image/png"}}


def reward_so_far(http: httpx.Client) -> str:
    reward = http.get(f"/v1/loops/{LOOP}/statistics").raise_for_status().json()["reward"]
    return "no reward yet" if reward is None else f"mean reward {reward['mean']:.2f}"


def joined_ledger(http: httpx.Client, decisions: int) -> Ledger:
    """Reward and model version of each decision in order, once all are experiences (or after ten seconds)."""
    for _ in range(100):
        if http.get(f"/v1/loops/{LOOP}/statistics").raise_for_status().json()["experiences"] >= decisions:
            break
        time.sleep(0.1)
    rows: list[dict[str, object]] = []
    query: dict[str, str | int] | None = {"limit": PAGE}
    while query:
        page = http.get(f"/v1/loops/{LOOP}/experiences", params=query).raise_for_status().json()
        rows += page["items"]
        query = {"limit": PAGE, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    versions = [row["model_version"] for row in reversed(rows)]
    rewards = [float(str(row["reward"])) for row in reversed(rows)]
    return Ledger(rewards, [None if version is None else int(str(version)) for version in versions])


def even_choice() -> float:
    """The mean reward of choosing every caption equally often."""
    references = [
        form.format(colour=colour, shape=shape) for form in REFERENCES for colour, shape in product(COLOURS, SHAPES)
    ]
    scores = [captioning_reward(caption, [one], **WEIGHTS) for caption in CAPTIONS for one in references]
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
