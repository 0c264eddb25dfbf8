"""SIGKILL in mid-stream, start again: every acknowledged event is there exactly once."""

import threading
import uuid

import httpx

from tests.e2e import product
from tests.e2e.conftest import Platform, until

LOOP = "crash"


class Ledger:
    """What the product was told is durable, and what it never learned the fate of."""

    def __init__(self) -> None:
        self.decided: set[str] = set()
        self.told: dict[str, float] = {}
        self.unknown_decisions: set[str] = set()
        self.unknown_feedback: set[str] = set()


def test_acknowledged_events_survive_a_kill_exactly_once(platform: Platform) -> None:
    ledger = Ledger()
    with platform.client() as http:
        product.put_loop(http, LOOP)
    stop = threading.Event()
    traffic = threading.Thread(target=_traffic, args=(platform, ledger, stop))
    traffic.start()
    while len(ledger.told) < 150:
        assert traffic.is_alive()
        stop.wait(0.01)
    platform.kill()
    stop.set()
    traffic.join()
    platform.start()
    with platform.client() as http:
        until(lambda: set(product.statistics(http, LOOP)["joiner_lag"].values()) == {0}, "the joiner has read it all")
        rows = _all(http, "decisions")
        experiences = _all(http, "experiences")
        counts = product.wait_for_experiences(http, LOOP, len(experiences))
    stored = [row["decision_id"] for row in rows]
    assert len(stored) == len(set(stored)) == counts["decisions"]
    assert ledger.decided <= set(stored) <= ledger.decided | ledger.unknown_decisions
    rewards = {row["decision_id"]: row["reward"] for row in experiences}
    assert len(rewards) == len(experiences)
    assert {decision: rewards[decision] for decision in ledger.told} == ledger.told
    assert set(rewards) <= set(ledger.told) | ledger.unknown_feedback
    assert counts["dangling_feedback"] == 0
    assert sorted(row["sequence"] for row in experiences) == list(range(1, len(experiences) + 1))


def _traffic(platform: Platform, ledger: Ledger, stop: threading.Event) -> None:
    """One product that decides and tells until it is stopped, and goes on where the platform does not answer."""
    with platform.client() as http:
        for visit in product.visits(seed=len(ledger.decided)):
            if stop.is_set():
                return
            decision_id = str(uuid.uuid4())
            try:
                decision = product.decide(http, LOOP, visit, decision_id=decision_id)
            except httpx.TransportError:
                ledger.unknown_decisions.add(decision_id)
                continue
            ledger.decided.add(decision_id)
            try:
                ledger.told[decision_id] = product.tell(http, LOOP, decision, visit, feedback_id=decision_id)
            except httpx.TransportError:
                ledger.unknown_feedback.add(decision_id)


def _all(http: httpx.Client, noun: str) -> list[product.Answer]:
    """Every row of a list, page after page."""
    rows: list[product.Answer] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": 500} | ({"cursor": cursor} if cursor else {})
        page = http.get(f"/v1/loops/{LOOP}/{noun}", params=parameters).raise_for_status().json()
        rows += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return rows
