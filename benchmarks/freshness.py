"""How soon what came of a decision changes the next ones: from the answer to its feedback to the head that has it.

Feedback closes each experience at once. A second thread asks statistics, again and again, for the last experience that
the serving version has learned, so that a time found is at most one question too long.
"""

import threading
import time
from typing import Final

import httpx
import numpy as np

LOOP: Final = "freshness"
PAUSE: Final = 0.01
PATIENCE: Final = 60.0


def measure(url: str, key: str, events: int = 2000, rate: float = 100.0) -> dict[str, float]:
    """Seconds, p50 and p99, over so many decisions with feedback at a rate a second, and the rate that was reached."""
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=60) as http,
        httpx.Client(base_url=url, headers=headers, timeout=60) as other,
    ):
        body = {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
        http.put(f"/v1/loops/{LOOP}", json=body).raise_for_status()
        learned_at, ended = np.full(events, np.nan), threading.Event()
        watcher = threading.Thread(target=_watch, args=(other, learned_at, ended))
        watcher.start()
        answered_at, started = np.zeros(events), time.perf_counter()
        for number in range(events):
            time.sleep(max(0.0, started + number / rate - time.perf_counter()))
            answered_at[number] = _tell(http, number)
        took = time.perf_counter() - started
        watcher.join(PATIENCE)
        ended.set()
    waits = learned_at - answered_at
    return {
        "p50": float(np.nanquantile(waits, 0.5)),
        "p99": float(np.nanquantile(waits, 0.99)),
        "never": int(np.isnan(waits).sum()),
        "events_per_second": events / took,
    }


def _tell(http: httpx.Client, number: int) -> float:
    context = {"title": f"title number {number % 50}"}
    decision = http.post(f"/v1/loops/{LOOP}/decisions", json={"context": context}).raise_for_status().json()
    event = {"decision_id": decision["decision_id"], "metric": "reward", "value": number % 2}
    http.post(f"/v1/loops/{LOOP}/feedback", json=event).raise_for_status()
    return time.perf_counter()


def _watch(http: httpx.Client, learned_at: np.ndarray, ended: threading.Event) -> None:
    seen = 0
    while seen < len(learned_at) and not ended.wait(PAUSE):
        statistics = http.get(f"/v1/loops/{LOOP}/statistics").raise_for_status().json()
        now = time.perf_counter()
        learned_at[seen : statistics["head_sequence"]] = now
        seen = max(seen, statistics["head_sequence"])
