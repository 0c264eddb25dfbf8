"""An episode: steps whose reward comes only at the end. Start a platform by `make up`, then run this.

Gymnasium's frozen lake, as a path of four fields whose last is the goal. A loop of `problem_type` `episodic` learns by
Q-learning (equation 3 of the book) that a step is worth what it leads to.
"""

import gymnasium

from examples.visiting import connect, fine_tune, make_loop, wait_until_learned
from rewardloop import Decision, Rewardloop

FIELDS = "SFFG"
MOST_STEPS = 60
SETTINGS = {
    "problem_type": "episodic",
    "modalities": {"field": {"kind": "text"}},
    "actions": [{"id": str(action)} for action in range(4)],
    "learning": {"objective": "q_learning", "discount": 0.9, "min_experiences": 1_000_000},
    "exploration": {"strategy": "epsilon_greedy", "epsilon": 0.1},
}


def main() -> None:
    with connect() as client:
        for number, steps in enumerate(run(client), 1):
            print(f"episode {number}: {steps} steps")


def run(client: Rewardloop, loop: str = "lake", episodes: int = 30, tune_every: int = 10) -> list[int]:
    """The number of steps of each episode; the shortest way has three."""
    make_loop(client, loop, SETTINGS)
    env = gymnasium.make("FrozenLake-v1", desc=[FIELDS], is_slippery=False, max_episode_steps=MOST_STEPS)
    steps: list[int] = []
    for number in range(1, episodes + 1):
        steps.append(one_episode(client, loop, env, f"{loop}-{number}"))
        if number % tune_every == 0:
            wait_until_learned(client, loop, sum(steps))
            fine_tune(client, loop)
    env.close()
    return steps


def one_episode(client: Rewardloop, loop: str, env: "gymnasium.Env[int, int]", episode_id: str) -> int:
    field, _ = env.reset(seed=0)
    last: Decision | None = None
    count, terminated, truncated = 0, False, False
    while not (terminated or truncated):
        last = client.decide(loop, {"field": f"field {field}"}, episode_id=episode_id, previous=last)
        field, reward, terminated, truncated, _ = env.step(int(last.action_id))
        client.feedback(loop, last, float(reward))
        count += 1
    assert last is not None
    client.end_episode(loop, episode_id, last, "terminated" if terminated else "truncated")
    return count


if __name__ == "__main__":
    main()
