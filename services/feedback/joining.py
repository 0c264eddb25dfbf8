"""The join itself: events are applied in order to what is known of their decisions; no database, no log, no clock."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from services.feedback.intake import DeadLetter, Intake, Joinable
from services.feedback.windows import Changes, Closing, DecisionKey, FeedbackKey, Known, LoopKey, Window
from shared import wire
from shared.db.decisions import ClosedBy, StoredFeedback
from shared.db.statistics import CountName
from shared.domain import Activation, Decision, EpisodeEnd, Feedback, ImportedExperience
from shared.eventlog import Position, StoredRecord
from shared.loop_settings import LoopSettings
from shared.rewards import has_all, joined_reward, receive_order

MICROSECONDS: Final = 1_000_000


class Join:
    """One batch. `changes` says what to write; `windows` has every decision as it is afterwards."""

    def __init__(self, loops: Mapping[LoopKey, LoopSettings], known: Known) -> None:
        self.changes = Changes()
        self.windows = known.windows
        self._loops = loops
        self._known = known

    def apply(self, intake: Intake) -> None:
        """Takes events in order; those of a loop that is not there (any more) become dead letters."""
        self.changes.dead += intake.dead
        for event, stored in intake.events:
            if (event.tenant, event.loop_id) not in self._loops:
                self.changes.dead.append(DeadLetter(stored, "its loop is not known", event))
                self._count(event, "dead_letters")
                continue
            match event:
                case Decision():
                    self._decide(event, stored)
                case Activation():
                    self._activate(event)
                case Feedback():
                    self._receive(event)
                case EpisodeEnd():
                    self.changes.episode_ends.append(event)
                case ImportedExperience():
                    self._import(event, stored)

    def close_due(self, until: int) -> None:
        """Closes the windows that end before a time, in order of their ends; without a loop there is no experience."""
        due = [
            (window.closes_at, window)
            for window in self.windows.values()
            if window.closes_at is not None and window.closes_at < until
        ]
        for closes_at, window in sorted(due, key=lambda entry: (entry[0], entry[1].key)):
            if (window.tenant, window.loop_id) in self._loops:
                self._close(window, closes_at, "timeout")
            else:
                self._set_end(window, None)

    def _decide(self, decision: Decision, stored: StoredRecord) -> None:
        window = self._open(decision, stored.record.value, stored.position)
        if window is None:
            return
        activation = self._known.activations.pop(window.key, None)
        if activation is not None and self.changes.activations.pop(window.key, None) is None:
            self.changes.activated.add(window.key)
        if not decision.deferred:
            self._set_end(window, decision.decided_at + self._wait(window))
        if activation is not None:
            self._start(window, activation)
        self._join_dangling(window)

    def _import(self, imported: ImportedExperience, stored: StoredRecord) -> None:
        """The window closes at once, by what the experience brings; other feedback is late."""
        decision = imported.decision
        window = self._open(decision, wire.imported_decision(stored.record.value), stored.position)
        if window is None:
            return
        new = [feedback for feedback in imported.feedback if _identity(feedback) not in self._known.feedback_ids]
        for feedback in new:
            self._known.feedback_ids.add(_identity(feedback))
            self.changes.feedback[_identity(feedback)] = StoredFeedback(feedback, late=False)
            self._count(feedback, "feedback")
        window.in_time = new
        self._close(window, decision.decided_at, "feedback" if imported.reward is None else "import", imported.reward)
        if imported.episode_end is not None:
            self.changes.episode_ends.append(imported.episode_end)
        self._join_dangling(window)

    def _open(self, decision: Decision, payload: bytes, position: Position) -> Window | None:
        """The window of a new decision; None, and counted, for one that repeats an id."""
        key = _key(decision)
        known = self.windows.get(key)
        if known is not None:
            repeats = known.request_sha256 == decision.request_sha256
            self._count(decision, "duplicate_decisions" if repeats else "conflicting_decisions")
            return None
        window = self.windows[key] = _window(decision, position.partition)
        self.changes.decisions[key] = (decision, payload)
        self._count(decision, "decisions")
        if (matches := _matches(decision)) is not None:
            self._count(decision, "apprentice_decisions")
            self._count(decision, "apprentice_matches", int(matches))
        return window

    def _join_dangling(self, window: Window) -> None:
        for feedback in sorted(self._known.dangling.pop(window.key, []), key=receive_order):
            self._settle(feedback)
            self._join(window, feedback)

    def _activate(self, activation: Activation) -> None:
        key = _key(activation)
        window = self.windows.get(key)
        if window is None and key not in self._known.activations:
            self._known.activations[key] = self.changes.activations[key] = activation
        elif window is None:
            self._count(activation, "duplicate_activations")
        else:
            self._start(window, activation)

    def _receive(self, feedback: Feedback) -> None:
        identity = _identity(feedback)
        if identity in self._known.feedback_ids:
            self._count(feedback, "duplicate_feedback")
            return
        self._known.feedback_ids.add(identity)
        window = self.windows.get(_key(feedback))
        if window is not None:
            self._join(window, feedback)
            return
        self._known.dangling.setdefault(_key(feedback), []).append(feedback)
        self.changes.dangling[identity] = feedback
        self._count(feedback, "dangling_feedback")

    def _settle(self, feedback: Feedback) -> None:
        """The decision of dangling feedback has come."""
        if self.changes.dangling.pop(_identity(feedback), None) is None:
            self.changes.found.add(_identity(feedback))
        self._count(feedback, "dangling_feedback", -1)

    def _join(self, window: Window, feedback: Feedback) -> None:
        late = window.is_closed or (window.closes_at is not None and feedback.received_at > window.closes_at)
        if window.is_closed and self._may_count(window, feedback):
            self.changes.touched.add(window.key)
        self.changes.feedback[_identity(feedback)] = StoredFeedback(feedback, late)
        self._count(feedback, "feedback")
        if late:
            self._count(feedback, "late_feedback")
        else:
            window.in_time.append(feedback)
            self._close_if_complete(window)

    def _may_count(self, window: Window, feedback: Feedback) -> bool:
        """Of a closed window: where the loop has late feedback restate, or where it was late to be read, not taken."""
        settings = self._loops[window.tenant, window.loop_id]
        return settings.late_feedback == "restate" or feedback.received_at <= window.started_at + self._wait(window)

    def _start(self, window: Window, activation: Activation) -> None:
        """The window of a deferred decision starts; feedback that came before it counts too."""
        if not window.waits:
            self._count(activation, "duplicate_activations")
            return
        window.activated_at, window.served_action_id = activation.activated_at, activation.served_action_id
        end = activation.activated_at + self._wait(window)
        self._set_end(window, end)
        for feedback in window.in_time:
            if feedback.received_at > end:
                self._turn_late(feedback)
        window.in_time = [feedback for feedback in window.in_time if feedback.received_at <= end]
        self._close_if_complete(window)

    def _turn_late(self, feedback: Feedback) -> None:
        identity = _identity(feedback)
        if identity in self.changes.feedback:
            self.changes.feedback[identity] = StoredFeedback(feedback, late=True)
        else:
            self.changes.late_after_all.add(identity)
        self._count(feedback, "late_feedback")

    def _close_if_complete(self, window: Window) -> None:
        settings = self._loops[window.tenant, window.loop_id]
        if window.closes_at is None or not settings.close_on_first_feedback:
            return
        if has_all(settings.reward, window.in_time, window.decision):
            closed_at = max(window.started_at, *(feedback.received_at for feedback in window.in_time))
            self._close(window, closed_at, "feedback")

    def _close(self, window: Window, closed_at: int, closed_by: ClosedBy, reward: float | None = None) -> None:
        if reward is None:
            settings = self._loops[window.tenant, window.loop_id]
            reward = joined_reward(settings, window.in_time, window.decision, window.served_action_id)
        self.changes.closings.append(Closing(window, reward, closed_at, closed_by))
        self._set_end(window, None)

    def _set_end(self, window: Window, closes_at: int | None) -> None:
        window.closes_at = closes_at
        self.changes.windows.add(window.key)

    def _wait(self, window: Window) -> int:
        wait = self._loops[window.tenant, window.loop_id].reward_wait_time
        return round(wait.total_seconds() * MICROSECONDS)

    def _count(self, of: Joinable, name: CountName, by: int = 1) -> None:
        self.changes.counts[of.tenant, of.loop_id, name] += by


def _matches(decision: Decision) -> bool | None:
    """Whether an apprentice's own greedy action is the one that was served; None where there was no apprentice."""
    if decision.fallback_reason != "apprentice" or decision.scores is None:
        return None
    allowed = [action.id not in decision.excluded_action_ids for action in decision.actions]
    greedy = int(np.argmax(np.where(allowed, decision.scores.expected_rewards, -np.inf)))
    return decision.actions[greedy].id == decision.action_id


def _window(decision: Decision, partition: int) -> Window:
    return Window(
        tenant=decision.tenant,
        loop_id=decision.loop_id,
        decision_id=decision.decision_id,
        request_sha256=decision.request_sha256,
        decided_at=decision.decided_at,
        action_id=decision.action_id,
        probability=decision.probability,
        model_version=decision.model_version,
        deferred=decision.deferred,
        log_partition=partition,
        decision=decision,
        traceparent=decision.traceparent,
    )


def _key(of: Decision | Activation | Feedback) -> DecisionKey:
    return of.tenant, of.loop_id, of.decision_id


def _identity(feedback: Feedback) -> FeedbackKey:
    return feedback.tenant, feedback.loop_id, feedback.feedback_id
