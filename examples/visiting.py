"""What the examples by the SDK share: a client of a running platform, and waiting until a loop has learned."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rewardloop import Options, Rewardloop

# A busy laptop takes longer than a product would wait.
PATIENT = Options(decide_timeout=20.0)
SECONDS = 120.0


def connect() -> Rewardloop:
    """A client by REWARDLOOP_URL and REWARDLOOP_KEY, else by the state folder of `make up`."""
    folder = Path(os.environ.get("REWARDLOOP_HOME", "var"))
    key = os.environ.get("REWARDLOOP_KEY") or (folder / "bootstrap.key").read_text()
    return Rewardloop(key=key, options=PATIENT)


def make_loop(client: Rewardloop, loop: str, settings: Mapping[str, object]) -> None:
    """Creates the loop, and waits until its first version decides: before, decisions are drawn evenly."""
    client.put_loop(loop, settings)
    runs = f"/v1/loops/{loop}/training-runs"
    # A run has succeeded once its version serves.
    _wait(
        lambda: any(run["status"] == "succeeded" for run in client.request("GET", runs)["items"]),
        f"a version of {loop} decides",
    )


def wait_until_learned(client: Rewardloop, loop: str, experiences: int) -> None:
    """Until the version that decides has learned from so many experiences."""
    client.flush()
    _wait(lambda: client.statistics(loop)["head_sequence"] >= experiences, f"{loop} has learned")


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(0.05)


def fine_tune(client: Rewardloop, loop: str) -> str:
    """Asks for a fine-tune and waits for its end: succeeded, skipped or failed."""
    path = f"/v1/loops/{loop}/training-runs"
    run = client.request("POST", path, {})
    while run["status"] not in ("succeeded", "skipped", "failed"):
        time.sleep(0.2)
        run = client.request("GET", f"{path}/{run['training_run_id']}")
    return str(run["status"])
