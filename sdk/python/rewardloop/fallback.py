"""A choice without the platform: the product's own, told to the platform later."""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import httpx

from rewardloop.answers import Decision, JsonObject, RankedAction, decision_of
from rewardloop.errors import OutboxFullError, UnreachableError, problem_of
from rewardloop.outbox import LocalDecision, Outbox
from rewardloop.problems_log import log

REASON: Final = "platform_unreachable"
PAUSE_SECONDS: Final = 1.0


class LocalChoice:
    """Chooses the baseline action, else the first candidate; remembers the candidates of loops that list their own."""

    def __init__(self) -> None:
        self._known: dict[str, Sequence[str]] = {}
        self._lock = threading.Lock()

    def remember(self, decision: Decision) -> None:
        """The candidates of the newest decision, the likeliest first."""
        with self._lock:
            self._known[decision.loop_id] = [action.id for action in decision.ranking]

    def choose(self, loop_id: str, request: JsonObject) -> Decision | None:
        """With probability 1; None where no action is known.

        The first of the candidates that were sent; where the loop lists them, the one that was likeliest last.
        """
        candidates, excluded = self.candidates(loop_id, request), request.get("excluded_action_ids", [])
        baseline = request.get("baseline_action_id")
        allowed = [action for action in candidates if action not in excluded]
        if baseline is not None and baseline not in excluded:
            action = baseline
        elif allowed:
            action = allowed[0]
        else:
            return None
        return Decision(
            loop_id=loop_id,
            decision_id=request["decision_id"],
            action_id=action,
            probability=1.0,
            ranking=[RankedAction(action, 1.0), *(RankedAction(other, 0.0) for other in candidates if other != action)],
            fallback_reason=REASON,
            logged=False,
            is_local=True,
        )

    def candidates(self, loop_id: str, request: JsonObject) -> list[str]:
        """Ids of what the request may choose from, as far as they are known."""
        if "actions" in request:
            return [action["id"] for action in request["actions"]]
        with self._lock:
            return list(self._known.get(loop_id, ()))


class Fallback:
    """Decides here while the platform is away, and has the outbox tell it later.

    An outage costs one timeout each `pause` seconds: in between the platform is not asked. The clock gives seconds.
    """

    def __init__(self, outbox: Outbox, is_on: bool, clock: Callable[[], float], pause: float = PAUSE_SECONDS) -> None:
        self._outbox = outbox
        self._is_on = is_on
        self._clock = clock
        self._pause = pause
        self._away_until = float("-inf")
        self._choice = LocalChoice()

    def while_away(self, loop_id: str, request: JsonObject) -> Decision | None:
        """A local decision where the platform was away a moment ago; None: ask it."""
        if not self._is_on or self._clock() >= self._away_until:
            return None
        return self._decide(loop_id, request)

    def answered(self, loop_id: str, answer: httpx.Response) -> Decision:
        """The decision of the platform.

        Raises:
            ProblemError: it refused.
            UnreachableError: what answers is not the platform.
        """
        if not answer.is_success:
            raise problem_of(answer)
        try:
            decision = decision_of(loop_id, answer.json())
        except (ValueError, LookupError, TypeError) as error:
            raise UnreachableError("what answers there is not the platform") from error
        self._choice.remember(decision)
        return decision

    def unanswered(self, loop_id: str, request: JsonObject, error: UnreachableError) -> Decision:
        """A local decision.

        Raises:
            UnreachableError: no action is known to choose, or local decisions are off.
        """
        self._away_until = self._clock() + self._pause
        decision = self._decide(loop_id, request) if self._is_on else None
        if decision is None:
            raise error
        return decision

    def _decide(self, loop_id: str, request: JsonObject) -> Decision | None:
        decision = self._choice.choose(loop_id, request)
        if decision is not None:
            candidates = self._choice.candidates(loop_id, request)
            others = [action for action in candidates if action != decision.action_id] if candidates else None
            try:
                self._outbox.add(loop_id, LocalDecision(request, decision.action_id, others))
            except OutboxFullError as error:
                # The product goes on all the same.
                log.error("%s is not told to the platform: %s", decision.decision_id, error)
        return decision
