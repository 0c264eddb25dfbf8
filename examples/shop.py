"""A shop: which item goes beside what a visitor looks at? Start a platform by `make up`, then run this.

The context is a picture, a title and a table about the visitor; each item has a picture of its own, which the loop sees
as features: its colours on a coarse grid. Visitors want the colour that they look at, and what the title says.
"""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from examples.visiting import connect, fine_tune, make_loop, wait_until_learned
from rewardloop import Rewardloop

COLOURS = {"red": (214, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220)}
KINDS = ("shoe", "hat")
SIDE = 24
GRID = 3
WINDOW = 40


@dataclass(frozen=True)
class Item:
    """What the shop has on its shelf."""

    id: str
    colour: str
    kind: str

    def candidate(self) -> dict[str, object]:
        """The item as a candidate: what its picture shows, and its kind."""
        return {"id": self.id, "features": {**thumbnail(picture(self.colour, self.kind)), "kind": self.kind}}


ITEMS = [Item(f"{colour}-{kind}", colour, kind) for colour in COLOURS for kind in KINDS]
SETTINGS = {
    "modalities": {"photo": {"kind": "image"}, "title": {"kind": "text"}, "visitor": {"kind": "tabular"}},
    "reward": {"metrics": {"interest": {"weight": 1.0}}},
}
# Half of the reward is the colour, half the kind.
EVEN_CHOICE = 0.5 / len(COLOURS) + 0.5 / len(KINDS)


def main() -> None:
    with connect() as client:
        rewards = run(client)
    first, last = np.mean(rewards[:WINDOW]), np.mean(rewards[-WINDOW:])
    print(f"an even choice earns {EVEN_CHOICE:.2f}; the first {WINDOW} visits {first:.2f}, the last {last:.2f}")


def run(client: Rewardloop, loop: str = "shop-window", visits: int = 400, tune_every: int = 100) -> list[float]:
    """The reward of each visit, in order."""
    make_loop(client, loop, SETTINGS)
    shelf, visitors = [item.candidate() for item in ITEMS], random.Random(0)
    rewards: list[float] = []
    for number in range(1, visits + 1):
        rewards.append(one_visit(client, loop, shelf, visitors))
        if number % tune_every == 0:
            wait_until_learned(client, loop, number)
            fine_tune(client, loop)
    return rewards


def one_visit(client: Rewardloop, loop: str, shelf: list[dict[str, object]], visitors: random.Random) -> float:
    colour, kind = visitors.choice(list(COLOURS)), visitors.choice(KINDS)
    visitor = {"age": visitors.randint(18, 80), "country": visitors.choice(["NL", "DE", "FR"])}
    context = {"photo": picture(colour, kind), "title": f"A {kind} that suits you", "visitor": visitor}
    decision = client.decide(loop, context, actions=shelf)
    shown = next(item for item in ITEMS if item.id == decision.action_id)
    reward = 0.5 * (shown.colour == colour) + 0.5 * (shown.kind == kind)
    client.feedback(loop, decision, reward, "interest")
    return reward


def picture(colour: str, kind: str) -> Image.Image:
    """A drawing of one thing on white: a shoe is flat, a hat is round."""
    drawn = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(drawn)
    if kind == "shoe":
        draw.rectangle((2, 14, SIDE - 3, SIDE - 4), COLOURS[colour])
    else:
        draw.ellipse((4, 3, SIDE - 5, SIDE - 6), COLOURS[colour])
    return drawn


def thumbnail(drawn: Image.Image) -> dict[str, float]:
    """The mean colour of each part of a coarse grid, between 0 and 1."""
    parts = np.asarray(drawn.resize((GRID, GRID), Image.Resampling.BOX)).reshape(-1) / 255
    return {f"part{number}": float(value) for number, value in enumerate(parts)}


if __name__ == "__main__":
    main()
