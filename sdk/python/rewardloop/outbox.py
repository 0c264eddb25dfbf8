"""What waits to be sent: decisions made here, feedback, activations, ends of episodes; in order, loop by loop."""

import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import httpx

from rewardloop.answers import JsonObject
from rewardloop.calls import Call, activate_call, address, decide_call, feedback_call
from rewardloop.errors import OutboxFullError, ProblemError, UnreachableError, problem_of
from rewardloop.retrying import is_away

EVENTS_AT_ONCE: Final = 1000
CONFLICT: Final = 409
UNREAD: Final = 404
# The key, not what is sent, is at fault: it may be mended while things wait.
KEY_AT_FAULT: Final = frozenset({401, 403})

OnError = Callable[[ProblemError], None]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of feedback."""

    body: JsonObject


@dataclass(frozen=True, slots=True)
class LocalDecision:
    """A decision that was made here; `others` are the candidates it did not choose, None where they are not known."""

    body: JsonObject
    action_id: str
    others: list[str] | None


Entry = Event | LocalDecision | Call
# Yields calls, and is sent their answers.
Delivering = Generator[Call, httpx.Response, None]


class Outbox:
    """Safe for threads to add to; one at a time delivers.

    `on_error` is told what the platform refuses: that is not sent again.
    """

    def __init__(self, limit: int, on_error: OnError) -> None:
        self._limit = limit
        self._on_error = on_error
        self._queues: dict[str, deque[Entry]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    def add(self, loop_id: str, entry: Entry) -> None:
        """Raises:
        OutboxFullError: nothing was added.
        """
        with self._lock:
            if self._size >= self._limit:
                raise OutboxFullError(f"{self._size} things wait to be sent: the platform has been away for long")
            self._queues.setdefault(loop_id, deque()).append(entry)
            self._size += 1

    def delivering(self) -> Delivering:
        """Yields the calls that empty it; an entry leaves it once its answer has come.

        Raises:
            UnreachableError: the platform cannot take it now; the rest stays.
        """
        for loop_id in list(self._queues):
            while (head := self._head(loop_id)) is not None:
                match head:
                    case Event():
                        yield from self._deliver_events(loop_id)
                    case LocalDecision():
                        yield from self._deliver_decision(loop_id, head)
                    case Call():
                        yield from self._deliver_call(loop_id, head)

    def _deliver_events(self, loop_id: str) -> Delivering:
        events = self._events(loop_id)
        answer = _taken((yield feedback_call(loop_id, [event.body for event in events])))
        if answer.is_success:
            self._drop(loop_id, len(events))
            return
        problem = problem_of(answer)
        self._on_error(problem)
        # One event at fault has all refused: without it the rest goes.
        place = (problem.field or "").partition(".")[0]
        if place.isdigit() and int(place) < len(events):
            self._drop(loop_id, 1, int(place))
        else:
            self._drop(loop_id, len(events))

    def _deliver_decision(self, loop_id: str, decision: LocalDecision) -> Delivering:
        """As a decision that could not choose otherwise: then its logged probability is the true one, 1.

        Where the other candidates are not known, it is deferred and activated with what was served: its reward is
        learned from, and evaluations leave it out.
        """
        answer = _taken((yield decide_call(loop_id, _telling(decision))))
        if answer.status_code == CONFLICT:
            yield from self._settle_conflict(loop_id, decision)
        elif not answer.is_success:
            self._refuse(loop_id, decision, problem_of(answer))
        elif decision.others is None and not decision.body.get("deferred"):
            told = activate_call(loop_id, decision.body["decision_id"], decision.action_id)
            yield from self._deliver_call(loop_id, told)
        else:
            self._drop(loop_id, 1)

    def _settle_conflict(self, loop_id: str, decision: LocalDecision) -> Delivering:
        """The platform had decided, and its answer was lost: only if it chose alike does the feedback belong to it."""
        decision_id = decision.body["decision_id"]
        answer = _taken((yield Call("GET", address(loop_id, "decisions", decision_id))))
        if answer.status_code == UNREAD:
            raise UnreachableError(f"{decision_id} is not read from the log yet")
        if answer.is_success and answer.json()["action_id"] == decision.action_id:
            self._drop(loop_id, 1)
            return
        detail = f"{decision_id}: the platform logged another action than was served; its feedback is dropped"
        problem = ProblemError(CONFLICT, "The decision was made twice", detail, "decision_id", None)
        self._refuse(loop_id, decision, problem)

    def _deliver_call(self, loop_id: str, call: Call) -> Delivering:
        answer = _taken((yield call))
        if not answer.is_success:
            self._on_error(problem_of(answer))
        self._drop(loop_id, 1)

    def _refuse(self, loop_id: str, decision: LocalDecision, problem: ProblemError) -> None:
        """Drops a decision with its feedback."""
        self._on_error(problem)
        decision_id = decision.body["decision_id"]
        with self._lock:
            queue = self._queues[loop_id]
            kept = [
                entry
                for entry in queue
                if entry is not decision and not (isinstance(entry, Event) and entry.body["decision_id"] == decision_id)
            ]
            self._size -= len(queue) - len(kept)
            self._queues[loop_id] = deque(kept)

    def _head(self, loop_id: str) -> Entry | None:
        with self._lock:
            queue = self._queues.get(loop_id)
            return queue[0] if queue else None

    def _events(self, loop_id: str) -> list[Event]:
        """As many events at the head as one call takes."""
        events: list[Event] = []
        with self._lock:
            for entry in self._queues[loop_id]:
                if not isinstance(entry, Event) or len(events) == EVENTS_AT_ONCE:
                    break
                events.append(entry)
        return events

    def _drop(self, loop_id: str, count: int, at: int = 0) -> None:
        with self._lock:
            queue = self._queues[loop_id]
            queue.rotate(-at)
            for _ in range(count):
                queue.popleft()
            queue.rotate(at)
            self._size -= count


def _telling(decision: LocalDecision) -> JsonObject:
    if decision.others is None:
        return decision.body | {"deferred": True}
    return decision.body | {"excluded_action_ids": decision.others, "baseline_action_id": decision.action_id}


def _taken(answer: httpx.Response) -> httpx.Response:
    if is_away(answer) or answer.status_code in KEY_AT_FAULT:
        raise UnreachableError(str(problem_of(answer)))
    return answer
