"""How soon what came of a decision changes the next ones: from the answer to its feedback to the head that has it.

Feedback closes each experience at once. A second thread asks statistics, again and again, for the last experience that
the serving version has learned, so that a time found is at most one question too long.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal

import httpx
import numpy as np

from benchmarks.measured import Measured
from benchmarks.serving import served_platform
from deploy.local.home import running
from shared.domain import Doubles

LOOP: Final = "freshness"
EVENTS: Final = 2000
RATE: Final = 100.0
CALLERS: Final = 8
PAUSE: Final = 0.01
PATIENCE: Final = 60.0


Profile = Literal["embedded", "kafka"]


class FreshnessResult(Measured):
    """Seconds from the answer to a feedback to a head that has its experience, over all decisions.

    `never` counts those that no head had learned a minute after the last, and `events_per_second` is what was reached.
    """

    profile: Profile
    events: int
    p50: float
    p99: float
    never: int
    events_per_second: float


class NoKafkaError(RuntimeError):
    """There is no broker to measure on; the text says what starts one."""


def measure(profile: Profile, events: int = EVENTS) -> FreshnessResult:
    """On a platform of its own, with a local log or on the broker of `make services`.

    Raises:
        NoKafkaError: there is none.
    """
    with tempfile.TemporaryDirectory() as home:
        settings = _kafka(home) if profile == "kafka" else {}
        with served_platform(Path(home), **settings) as (url, key, _):
            return _measured(url, key, profile, events)


def _kafka(home: str) -> dict[str, str]:
    """Settings of a platform on topics of its own, which are made."""
    broker = running().get("kafka")
    if broker is None:
        raise NoKafkaError("there is no Kafka to measure on: `make services` starts one")
    settings = {broker.variable: broker.address, "REWARDLOOP_KAFKA_TOPIC_PREFIX": f"{uuid.uuid4()}."}
    command = [sys.executable, "-m", "services", "init"]
    subprocess.run(command, env=os.environ | settings | {"REWARDLOOP_HOME": home}, check=True)
    return settings


def _measured(url: str, key: str, profile: Profile, events: int) -> FreshnessResult:
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        httpx.Client(base_url=url, headers=headers, timeout=60) as other,
    ):
        body = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
        http.put(f"/v1/loops/{LOOP}", json=body).raise_for_status()
        _wait_for_version(http)
        learned_at, ended = np.full(events, np.nan), threading.Event()
        watcher = threading.Thread(target=_watch, args=(other, learned_at, ended))
        watcher.start()
        started = time.perf_counter()

        def tell(number: int) -> float:
            time.sleep(max(0.0, started + number / RATE - time.perf_counter()))
            return _tell(http, number)

        with ThreadPoolExecutor(CALLERS) as callers:
            # The joiner numbers experiences as feedback comes in.
            answered_at = np.sort(list(callers.map(tell, range(events))))
        took = time.perf_counter() - started
        watcher.join(PATIENCE)
        ended.set()
    waits = learned_at - answered_at
    return FreshnessResult(
        profile=profile,
        events=events,
        p50=float(np.nanquantile(waits, 0.5)),
        p99=float(np.nanquantile(waits, 0.99)),
        never=int(np.isnan(waits).sum()),
        events_per_second=events / took,
    )


def _wait_for_version(http: httpx.Client) -> None:
    """Before there is one, nothing learns."""
    while not http.get(f"/v1/loops/{LOOP}/models/1").is_success:
        time.sleep(0.1)


def _tell(http: httpx.Client, number: int) -> float:
    context = {"title": f"title number {number % 50}"}
    decision = http.post(f"/v1/loops/{LOOP}/decisions", json={"context": context}).raise_for_status().json()
    event = {"decision_id": decision["decision_id"], "metric": "reward", "value": number % 2}
    http.post(f"/v1/loops/{LOOP}/feedback", json=event).raise_for_status()
    return time.perf_counter()


def _watch(http: httpx.Client, learned_at: Doubles, ended: threading.Event) -> None:
    seen = 0
    while seen < len(learned_at) and not ended.wait(PAUSE):
        statistics = http.get(f"/v1/loops/{LOOP}/statistics").raise_for_status().json()
        now = time.perf_counter()
        learned_at[seen : statistics["head_sequence"]] = now
        seen = max(seen, statistics["head_sequence"])
