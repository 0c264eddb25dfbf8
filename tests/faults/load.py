"""The product: decisions and feedback by a schedule, whatever the platform does. A process of its own.

python -m tests.faults.load <plan as JSON>; the ledger grows line by line in the plan's file. SIGTERM ends the schedule;
what follows from the decisions that were made, late feedback too, is still sent.
"""

import asyncio
import random
import signal
import sys
import time
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import orjson
import uvloop
from uuid_utils import uuid7

from tests.faults.ledger import ENCODER, AnyAttempt, DecisionAttempt, FeedbackAttempt, Outcome

ACTIONS: Final = ("a", "b", "c", "d")
# No log may hold it: it stands in the context of every decision.
FEATURE_VALUE: Final = "velvet-lagoon-7391"
REPEATED: Final = 0.10
LATE: Final = 0.05
FEEDBACK_FIRST: Final = 0.02
# Seconds from a decision to its feedback, and from the window's end to feedback that is late.
SOONEST: Final = 0.2
LATEST: Final = 0.6
AFTER_WINDOW: Final = 1.0
# The share of the second tenant, whose loop and decision ids are the first one's.
OTHER_TENANT: Final = 0.05


class Plan(msgspec.Struct):
    """What to send, and where the ledger goes. Rates are of decisions; about as much feedback follows."""

    url: str
    loop_id: str
    # Tenant → its key; the first has most of the traffic.
    keys: dict[str, str]
    ledger: str
    rate: float
    window: float
    timeout: float
    seed: int


class Load:
    """One run of a plan: each event is a task that sleeps until its time."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession, ledger: FileIO) -> None:
        self._plan = plan
        self._session = session
        self._ledger = ledger
        self._random = random.Random(plan.seed)
        self._numbers = dict.fromkeys(plan.keys, 0)

    async def run(self, stop: asyncio.Event) -> None:
        start = time.monotonic() + 0.1
        # Not as many tasks as there are events: one that spawns each at its time.
        async with asyncio.TaskGroup() as tasks:
            for number in count():
                at = start + number / self._plan.rate
                await _sleep_until(at)
                if stop.is_set():
                    return
                first, *others = self._plan.keys
                tenant = others[0] if others and self._random.random() < OTHER_TENANT else first
                tasks.create_task(self._visit(tenant, at))

    async def _visit(self, tenant: str, at: float) -> None:
        """A decision and its feedback, of one of the kinds that products send."""
        draw = self._random.random()
        number = self._next(tenant)
        value, delay = round(self._random.random(), 3), self._random.uniform(SOONEST, LATEST)
        chosen = str(uuid7()) if draw < REPEATED + FEEDBACK_FIRST else None
        if draw < FEEDBACK_FIRST:
            assert chosen is not None
            await self._tell(tenant, number, chosen, value, at)
            await self._decide(tenant, number, chosen, _from_now(at + delay))
            return
        decision = await self._decide(tenant, number, chosen, at)
        if chosen is not None:
            again_at = _from_now(at + SOONEST / 2)
            decision = await self._decide(tenant, number, chosen, again_at, repeats=True) or decision
        if decision is None:
            return
        is_late = self._random.random() < LATE
        later = self._plan.window + AFTER_WINDOW if is_late else 0.0
        told_at = _from_now(at + delay) + later
        await self._tell(tenant, number, decision, value, told_at)
        if self._random.random() < REPEATED:
            await self._tell(tenant, number, decision, value, _from_now(told_at + delay), repeats=True)

    def _next(self, tenant: str) -> int:
        self._numbers[tenant] += 1
        return self._numbers[tenant]

    async def _decide(
        self, tenant: str, number: int, chosen: str | None, at: float, *, repeats: bool = False
    ) -> str | None:
        """The decision's id, if it was answered and is durable."""
        visit = [(number * 7 + dimension) % 11 / 11 for dimension in range(8)]
        body: dict[str, object] = {
            "context": {"visit": visit, "user": {"plan": FEATURE_VALUE}},
            "subject_id": str(number),
        }
        if chosen is not None:
            body["decision_id"] = chosen
        times, status, answer = await self._post(tenant, "decisions", body, at)
        logged = answer.get("logged", True)
        outcome: Outcome = _outcome(status) if logged else "unlogged"
        decided = answer.get("decision_id", chosen)
        self._note(
            DecisionAttempt(
                tenant,
                number,
                *times,
                outcome,
                status,
                repeats,
                decision_id=None if decided is None else str(decided),
                chosen_id=chosen is not None,
                action_id=_text(answer, "action_id"),
                probability=float(str(answer.get("probability", 0))),
                model_version=_text(answer, "model_version"),
                fallback_reason=_text(answer, "fallback_reason"),
            )
        )
        return str(decided) if outcome == "ok" else None

    async def _tell(
        self, tenant: str, number: int, decision: str, value: float, at: float, *, repeats: bool = False
    ) -> None:
        feedback_id = f"{decision}-told"
        body = {"decision_id": decision, "feedback_id": feedback_id, "metric": "reward", "value": value}
        times, status, _ = await self._post(tenant, "feedback", body, at)
        outcome = _outcome(status)
        told = FeedbackAttempt(tenant, number, *times, outcome, status, repeats, feedback_id, decision, value)
        self._note(told)

    async def _post(
        self, tenant: str, noun: str, body: object, at: float
    ) -> tuple[tuple[float, float, float], int, dict[str, object]]:
        """Scheduled, sent and answered; the status: 0 where no connection was made, -1 where no answer came."""
        await _sleep_until(at)
        sent_at = time.monotonic()
        url = f"{self._plan.url}/v1/loops/{self._plan.loop_id}/{noun}"
        headers = {"Authorization": f"Bearer {self._plan.keys[tenant]}", "Content-Type": "application/json"}
        answer: dict[str, object] = {}
        try:
            async with self._session.post(url, data=orjson.dumps(body), headers=headers) as response:
                told = await response.read()
                status = response.status
                if status == 200:
                    answer = orjson.loads(told)
        except aiohttp.ClientConnectorError:
            status = 0
        except (aiohttp.ClientError, TimeoutError):
            status = -1
        return (at, sent_at, time.monotonic()), status, answer

    def _note(self, attempt: AnyAttempt) -> None:
        self._ledger.write(ENCODER.encode(attempt) + b"\n")


def _outcome(status: int) -> Outcome:
    return "ok" if status in (200, 202) else "unknown" if status < 0 else "failed"


def _text(answer: dict[str, object], name: str) -> str | None:
    value = answer.get(name)
    return None if value is None else str(value)


def _from_now(at: float) -> float:
    """What follows an answer is scheduled no sooner than that came: only a visit's first request is strictly so."""
    return max(at, time.monotonic())


async def _sleep_until(at: float) -> None:
    while (left := at - time.monotonic()) > 0:
        await asyncio.sleep(left)


async def _run(plan: Plan, ledger: FileIO) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    timeout = aiohttp.ClientTimeout(total=plan.timeout)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await Load(plan, session, ledger).run(stop)


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    with Path(plan.ledger).open("ab", buffering=0) as ledger:
        uvloop.run(_run(plan, ledger))


if __name__ == "__main__":
    main()
