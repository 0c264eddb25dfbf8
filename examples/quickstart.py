"""The shortest product: two offers, a title, and a yes or no. Start a platform by `make up`, then run this.

Visitors who look at shoes want offer `a`, those who look at hats want `b`. Nobody tells the loop; it learns from what
they take.
"""

import random

from examples.visiting import connect, make_loop, wait_until_learned
from rewardloop import Rewardloop

SETTINGS = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
WANTED = {"shoe": "a", "hat": "b"}
COLOURS = ("red", "green", "blue", "black")


def main() -> None:
    with connect() as client:
        for number, reward in enumerate(run(client), 1):
            print(f"round {number}: reward {reward:.2f}")


def run(client: Rewardloop, loop: str = "quickstart", rounds: int = 4, visits: int = 25) -> list[float]:
    """The mean reward of each round; between two of them the loop is given the moment that it needs to learn."""
    make_loop(client, loop, SETTINGS)
    visitors = random.Random(0)
    return [one_round(client, loop, visits, done * visits, visitors) for done in range(rounds)]


def one_round(client: Rewardloop, loop: str, visits: int, before: int, visitors: random.Random) -> float:
    earned = 0
    for _ in range(visits):
        thing = visitors.choice(list(WANTED))
        decision = client.decide(loop, {"title": f"{visitors.choice(COLOURS)} {thing}"})
        taken = decision.action_id == WANTED[thing]
        client.feedback(loop, decision, taken)
        earned += taken
    wait_until_learned(client, loop, before + visits)
    return earned / visits


if __name__ == "__main__":
    main()
