"""What the examples by the SDK share: a client of a running platform, and waiting until a loop has learned."""

import os
import time
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


def wait_until_learned(client: Rewardloop, loop: str, experiences: int) -> None:
    """Until the version that decides has learned from so many experiences."""
    client.flush()
    deadline = time.monotonic() + SECONDS
    while client.statistics(loop)["head_sequence"] < experiences:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{loop} has not learned from {experiences} experiences in {SECONDS:.0f} s")
        time.sleep(0.05)


def fine_tune(client: Rewardloop, loop: str) -> str:
    """Asks for a fine-tune and waits for its end: succeeded, skipped or failed."""
    path = f"/v1/loops/{loop}/training-runs"
    run = client.request("POST", path, {})
    while run["status"] not in ("succeeded", "skipped", "failed"):
        time.sleep(0.2)
        run = client.request("GET", f"{path}/{run['training_run_id']}")
    return str(run["status"])
