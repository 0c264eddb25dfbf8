"""A product that must read a picture and a question to answer well, and learns to do it from yes-or-no feedback alone.

Starts the platform, sends scikit-learn's 1,797 scanned digits as PNG together with a written question about the digit,
tells only whether the chosen answer was right, and shows the reward rise as model versions take over.
"""

import argparse
import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits

LOOP = "digits-and-questions"
QUESTIONS: dict[str, Callable[[int], str]] = {
    "is it even?": lambda digit: "yes" if digit % 2 == 0 else "no",
    "is it greater than four?": lambda digit: "yes" if digit > 4 else "no",
    "which digit is it?": str,
}
ANSWERS = ["yes", "no", *map(str, range(10))]
SETTINGS = {
    "modalities": {"digit": {"kind": "image"}, "question": {"kind": "text"}},
    "actions": [{"id": answer} for answer in ANSWERS],
    "reward": {"metrics": {"correct": {"weight": 1.0}}},
    "learning": {"interval": "PT5S", "min_experiences": 100},
}
WINDOW = 200


@dataclass(frozen=True)
class Visitor:
    """One moment of the product: a picture, a question about it, and the answer that would be right."""

    picture: bytes
    question: str
    answer: str


@dataclass
class Ledger:
    """What the product saw: the reward and the model version of each decision."""

    rewards: list[float] = field(default_factory=list)
    versions: list[int | None] = field(default_factory=list)

    def recent(self) -> float:
        return float(np.mean(self.rewards[-WINDOW:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=12.0, help="decisions per second")
    parser.add_argument("--seed", type=int, default=0, help="of the traffic")
    parser.add_argument("--keep", action="store_true", help="leave the platform running at the end")
    options = parser.parse_args()
    console = Console(highlight=False)
    started = time.monotonic()
    home = Path(os.environ.get("REWARDLOOP_HOME", "var/demo"))
    shutil.rmtree(home, ignore_errors=True)
    with platform(home) as (process, url):
        with httpx.Client(base_url=url, timeout=30) as http:
            wait_until_ready(http, process)
            http.headers["Authorization"] = f"Bearer {(home / 'bootstrap.key').read_text().strip()}"
            http.put(f"/v1/loops/{LOOP}", json=SETTINGS, timeout=60).raise_for_status()
            ledger = Ledger()
            send_traffic(http, visitors(options.decisions, options.seed), ledger, options, console)
            statistics = joined_statistics(http, options.decisions)
            show_result(console, ledger)
            champion = http.get(f"/v1/loops/{LOOP}").json()["aliases"]["champion"]
        if options.keep:
            console.print(f"The platform goes on at {url}; its key is in {home / 'bootstrap.key'}. Ctrl-C ends it.")
            wait_for_interrupt(process)
    result = {
        "decisions": statistics["decisions"],
        "feedback": statistics["feedback"],
        "experiences": statistics["experiences"],
        "reward_first_200": round(float(np.mean(ledger.rewards[:WINDOW])), 4),
        "reward_last_200": round(ledger.recent(), 4),
        "model_versions": len({version for version in ledger.versions if version is not None and version > 1}),
        "champion": champion,
        "seconds": round(time.monotonic() - started, 1),
    }
    print("DEMO", json.dumps(result))


@contextmanager
def platform(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The whole platform as a child of this process, with its state in a folder of its own."""
    environment = os.environ | {"REWARDLOOP_HOME": str(home)}
    # The key is read from the state folder, where it stands unless the platform is given one.
    environment.pop("REWARDLOOP_BOOTSTRAP_KEY", None)
    process = subprocess.Popen([sys.executable, "-m", "services", "up"], env=environment)
    try:
        yield process, f"http://127.0.0.1:{os.environ.get('REWARDLOOP_PORT', '8000')}"
    finally:
        process.terminate()
        process.wait(timeout=15)


def wait_until_ready(http: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            if http.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    sys.exit(process.returncode)


def visitors(count: int, seed: int) -> Iterator[Visitor]:
    """A seeded stream of scanned digits, each with one of the questions."""
    digits = load_digits()
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(digits.target)) for _ in range(1 + count // len(digits.target))])
    for index in order[:count]:
        question = str(generator.choice(list(QUESTIONS)))
        picture = io.BytesIO()
        Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8)).save(picture, "PNG")
        yield Visitor(picture.getvalue(), question, QUESTIONS[question](int(digits.target[index])))


def send_traffic(
    http: httpx.Client, stream: Iterator[Visitor], ledger: Ledger, options: argparse.Namespace, console: Console
) -> None:
    """Decides and tells, one visitor after another, at a steady rate."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=options.decisions)
        started = time.monotonic()
        for number, visitor in enumerate(stream, 1):
            version, reward = one_visit(http, visitor)
            newest = max((v for v in ledger.versions if v is not None), default=0)
            if version is not None and version > newest:
                progress.console.print(f"decision {number:5,}: model version {version} takes over")
            ledger.rewards.append(reward)
            ledger.versions.append(version)
            progress.update(task, advance=1, description=f"reward of the last {WINDOW}: {ledger.recent():.2f}")
            time.sleep(max(0.0, started + number / options.rate - time.monotonic()))


def one_visit(http: httpx.Client, visitor: Visitor) -> tuple[int | None, float]:
    """The model version that decided, and the reward: 1 for the right answer, else 0."""
    picture = {"data": base64.b64encode(visitor.picture).decode(), "content_type": "image/png"}
    context = {"digit": picture, "question": visitor.question}
    answer = http.post(f"/v1/loops/{LOOP}/decisions", json={"context": context}).raise_for_status().json()
    reward = float(answer["action_id"] == visitor.answer)
    feedback = {"decision_id": answer["decision_id"], "metric": "correct", "value": reward}
    http.post(f"/v1/loops/{LOOP}/feedback", json=feedback).raise_for_status()
    version = answer["model_version"]
    return (None if version is None else int(version)), reward


def joined_statistics(http: httpx.Client, decisions: int) -> dict[str, int]:
    """The loop's statistics once every decision is an experience (or after ten seconds)."""
    for _ in range(100):
        statistics: dict[str, int] = http.get(f"/v1/loops/{LOOP}/statistics").raise_for_status().json()
        if statistics["experiences"] >= decisions:
            break
        time.sleep(0.1)
    return statistics


def show_result(console: Console, ledger: Ledger) -> None:
    table = Table(title="What the loop earned")
    for heading in ("decisions", "reward", "", "model versions"):
        table.add_column(heading, justify="right" if heading in {"decisions", "reward"} else "left")
    for first in range(0, len(ledger.rewards), WINDOW):
        reward = float(np.mean(ledger.rewards[first : first + WINDOW]))
        versions = dict.fromkeys(str(v) if v else "none yet" for v in ledger.versions[first : first + WINDOW])
        last = min(first + WINDOW, len(ledger.rewards))
        table.add_row(f"{first + 1:,} - {last:,}", f"{reward:.2f}", "█" * round(reward * 30), ", ".join(versions))
    console.print(table)


def wait_for_interrupt(process: subprocess.Popen[bytes]) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        process.wait()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
