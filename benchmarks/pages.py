"""How long a loop's pages take to show in a browser with many decisions behind them, and what that costs.

The decisions are written as rows, as the joiner leaves them; gateway and dashboard are processes of their own. A page
is shown once its heading stands there, and on the first page the curve: in headless Chromium, from the navigation on. A
loop with a hundredth of the decisions is measured beside it, in turn.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from benchmarks.joined_rows import rows_of
from benchmarks.measured import machine
from benchmarks.serving import free_ports, wait_for
from services.gateway.settings import GatewaySettings
from shared.db.engine import open_engine, write_session
from shared.db.tables import REWARD_CHUNK, JoinerCountRow, LoopRow, RewardSumRow
from shared.db.upgrading import upgrade
from shared.domain import Action, Decision
from shared.loop_settings import LoopSettings

KEY: Final = "benchmark-" + "0" * 40
TENANT, BUSY, QUIET = "default", "busy", "quiet"
ACTIONS: Final = tuple(f"action-{number}" for number in range(10))
PAGES: Final = (
    "",
    "/actions",
    "/modalities",
    "/fairness",
    "/joiner",
    "/training-runs",
    "/models",
    "/rollouts",
    "/evaluations",
    "/import",
)
START: Final = 1_790_000_000_000_000
SECOND: Final = 1_000_000
VERSIONS: Final = 8
BATCH: Final = 5000


@dataclass(frozen=True)
class Load:
    """One load of one page: seconds by the clock, and processor seconds of gateway, dashboard and browser."""

    seconds: float
    processor: float


Loads = dict[str, dict[str, list[Load]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--loads", type=int, default=5, help="of each page")
    options = parser.parse_args()
    counts = {BUSY: options.decisions, QUIET: options.decisions // 100}
    with tempfile.TemporaryDirectory() as home:
        engine = open_engine(GatewaySettings(home=Path(home)).database)
        upgrade(engine)
        for loop_id, count in counts.items():
            write_decisions(engine, loop_id, count)
        engine.dispose()
        with serving(Path(home)) as url:
            measured = measure(url, options.loads)
    show(measured)
    told = {path: {loop: [asdict(one) for one in of] for loop, of in loops.items()} for path, loops in measured.items()}
    print("PAGES", json.dumps({"decisions": counts, "machine": machine(), "pages": told}))


def show(measured: Loads) -> None:
    print("| page | seconds, median (slowest) | processor seconds | ratio to a hundredth of the decisions |")
    print("|---|---|---|---|")
    for path, loops in measured.items():
        seconds = [load.seconds for load in loops[BUSY]]
        busy, quiet = (median(load.processor for load in loops[name]) for name in (BUSY, QUIET))
        told = f"{median(seconds):.2f} ({max(seconds):.2f}) | {busy:.2f} | {busy / quiet:.2f}"
        print(f"| `/loops/{{loop_id}}{path}` | {told} |")


def write_decisions(engine: Engine, loop_id: str, count: int) -> None:
    """A loop that has learned, with every decision, its experience, and the sums that the joiner keeps of them."""
    settings = LoopSettings.model_validate(
        {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": name} for name in ACTIONS]}
    )
    body = settings.model_dump(mode="json")
    with write_session(engine) as session:
        session.add(LoopRow(tenant=TENANT, loop_id=loop_id, settings=body, settings_revision=1, created_at=START))
        session.flush()
        loop = session.get_one(LoopRow, (TENANT, loop_id))
        loop.last_sequence = loop.published_sequence = count
        for name in ("decisions", "feedback"):
            session.add(JoinerCountRow(tenant=TENANT, loop_id=loop_id, name=name, count=count))
    generator = np.random.default_rng(0)
    rewards = (generator.random(count) < np.linspace(0.1, 0.9, count)).astype(float).tolist()
    for first in range(0, count, BATCH):
        with write_session(engine) as session:
            _add(session, loop_id, first, rewards[first : first + BATCH], count)


def _add(session: Session, loop_id: str, first: int, rewards: Sequence[float], count: int) -> None:
    for index, reward in enumerate(rewards, first):
        session.add_all(rows_of(_decision(loop_id, index, count), index + 1, reward))
    for start in range(0, len(rewards), REWARD_CHUNK):
        chunk = rewards[start : start + REWARD_CHUNK]
        session.add(
            RewardSumRow(
                tenant=TENANT,
                loop_id=loop_id,
                chunk=(first + start) // REWARD_CHUNK,
                model_version=_version(first + start, count),
                experiences=len(chunk),
                closed_by_timeout=0,
                reward_sum=sum(chunk),
                reward_square_sum=sum(chunk),
                last_decided_at=START + (first + start) * SECOND,
            )
        )


def _decision(loop_id: str, index: int, count: int) -> Decision:
    share = 0.05 + 0.9 * index / count
    probabilities = np.full(len(ACTIONS), (1 - share) / (len(ACTIONS) - 1))
    taken = index % len(ACTIONS)
    probabilities[taken] = share
    return Decision(
        tenant=TENANT,
        loop_id=loop_id,
        decision_id=f"decision-{index:08d}",
        decided_at=START + index * SECOND,
        context={"title": f"title number {index}"},
        actions=[Action(name) for name in ACTIONS],
        action_id=ACTIONS[taken],
        probability=share,
        probabilities=probabilities,
        seed=0,
        settings_revision=1,
        request_sha256=sha256(str(index).encode()).digest(),
        model_version=_version(index, count),
    )


def _version(index: int, count: int) -> int:
    return 1 + VERSIONS * index // count


@contextmanager
def serving(home: Path) -> Iterator[str]:
    """Gateway and dashboard; the dashboard's address."""
    port, dashboard_port = free_ports(2)
    environment = os.environ | {
        "REWARDLOOP_HOME": str(home),
        "REWARDLOOP_BOOTSTRAP_KEY": KEY,
        "REWARDLOOP_PORT": str(port),
        "REWARDLOOP_GATEWAY_URL": f"http://127.0.0.1:{port}",
        "REWARDLOOP_GATEWAY_TIMEOUT": "30",
        "REWARDLOOP_DASHBOARD_PORT": str(dashboard_port),
        "REWARDLOOP_LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{dashboard_port}"
    ready = {"services.gateway": f"http://127.0.0.1:{port}/healthz", "services.dashboard": f"{url}/sign-in"}
    with ExitStack() as held:
        for module, address in ready.items():
            process = held.enter_context(subprocess.Popen([sys.executable, "-m", module], env=environment))
            held.callback(process.terminate)
            wait_for(address, None, process)
        yield url


def measure(url: str, loads: int) -> Loads:
    """By page and loop; the loops take turns."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if program is None:
        sys.exit("no Chromium on the path: `make browser` installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        page.goto(f"{url}/sign-in")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/")
        found: Loads = {path: {BUSY: [], QUIET: []} for path in PAGES}
        for _ in range(loads):
            for path, loops in found.items():
                for loop_id, measured in loops.items():
                    measured.append(_load(page, f"{url}/loops/{loop_id}{path}", shows_curve=not path))
        browser.close()
    return found


def _load(page: Page, address: str, shows_curve: bool) -> Load:
    # Nothing of the page before it goes on meanwhile.
    page.goto("about:blank")
    spent, started = _processor_seconds(), time.perf_counter()
    page.goto(address, wait_until="commit")
    page.get_by_role("heading", level=1).wait_for()
    if shows_curve:
        page.locator(".curve path").first.wait_for(state="attached")
    return Load(time.perf_counter() - started, _processor_seconds() - spent)


def _processor_seconds() -> float:
    """Of all that this process has started, while it runs."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


if __name__ == "__main__":
    main()
