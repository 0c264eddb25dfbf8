"""What both clients tell in the background, and wait for nothing."""

import weakref
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from rewardloop.answers import Decision
from rewardloop.calls import End, activation_of, end_call, event_of, id_of
from rewardloop.outbox import Entry, Event, Outbox


class Telling(ABC):
    """Puts into the outbox, until it is closed."""

    _outbox: Outbox
    # Dead once the client is closed.
    _finish: "weakref.finalize[Any, Any]"

    def feedback(
        self,
        loop_id: str,
        decision: Decision | str,
        value: float | str | bool,
        metric: str = "reward",
        *,
        occurred_at: datetime | None = None,
        feedback_id: str | None = None,
    ) -> str:
        """Tells what came of a decision, in the background; the event's id.

        Raises:
            OutboxFullError: the platform has been away for so long that no more can be kept.
        """
        event = event_of(decision, value, metric, occurred_at, feedback_id)
        self._put(loop_id, Event(event))
        return str(event["feedback_id"])

    def activate(self, loop_id: str, decision: Decision | str, served_action_id: str | None = None) -> None:
        """A deferred decision was shown; in the background. `served_action_id`: where it was not the drawn action."""
        self._put(loop_id, activation_of(loop_id, decision, served_action_id))

    def end_episode(self, loop_id: str, episode_id: str, last: Decision | str, end: End = "terminated") -> None:
        """Nothing follows the last decision, or nobody will see it (`truncated`); in the background."""
        self._put(loop_id, end_call(loop_id, episode_id, id_of(last), end))

    def _put(self, loop_id: str, entry: Entry) -> None:
        if not self._finish.alive:
            raise RuntimeError("the client is closed")
        self._outbox.add(loop_id, entry)
        self._wake()

    @abstractmethod
    def _wake(self) -> None:
        """Has what waits delivered soon."""
