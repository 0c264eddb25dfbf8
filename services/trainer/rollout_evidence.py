"""Gathers a rollout's evidence from the rows, look by look; a new process begins again at the rollout's start."""

import math
from collections import deque
from typing import Final

from sqlalchemy.orm import Session

from services.trainer.rollout_reading import (
    BATCH,
    JoinedReward,
    read_ids_since,
    read_logged,
    read_rewards_after,
)
from services.trainer.segments import segments_of
from shared import wire
from shared.evaluation.arm_counts import ShareTest
from shared.evaluation.rollout_verdict import MICROSECOND, Evidence
from shared.loop_settings import LoopSettings
from shared.pb.events.v1 import events_pb2
from shared.rollouts import Rollout

# Decisions are written a little out of order, by several gateways and joiners: so far back each look begins.
OVERLAP: Final = 10_000_000
SECOND: Final = 1_000_000
# When nearly all decisions of a second have been written.
SETTLED: Final = 3 * SECOND
CERTAIN: Final = 1 - 1e-9


class Gathering:
    """The evidence of one rollout, and how far it was read."""

    def __init__(self, rollout: Rollout) -> None:
        self.evidence = Evidence()
        self._rollout = rollout
        self._sequence = rollout.start_sequence
        self._decided_at = rollout.started_at
        # Of the decisions in the overlap.
        self._recent: dict[str, int] = {}
        self._waiting: deque[JoinedReward] = deque()
        # A subject or an episode counts once, since all of its decisions have one arm.
        self._clusters: dict[ShareTest, set[str]] = {}

    def look(self, session: Session, settings: LoopSettings, now: int) -> None:
        """Takes in all that was logged and all that has matured by now."""
        self._read_decisions(session)
        for befallen in (self.evidence.rescued, self.evidence.slow):
            befallen.close((now - SETTLED) // SECOND)
        while self._read_rewards(session) == BATCH:
            pass
        self._mature(settings, now - settings.reward_wait_time // MICROSECOND)

    def _read_decisions(self, session: Session) -> None:
        found = read_ids_since(session, self._rollout, max(self._rollout.started_at, self._decided_at - OVERLAP))
        for message in read_logged(session, self._rollout, [name for name in found if name not in self._recent]):
            if message.rollout_id == self._rollout.rollout_id:
                self._take_in(message)
        self._decided_at = max(self._decided_at, *found.values(), 0)
        self._recent = {name: at for name, at in found.items() if at >= self._decided_at - OVERLAP}

    def _read_rewards(self, session: Session) -> int:
        rows = read_rewards_after(session, self._rollout, self._sequence)
        self._waiting.extend(row for row in rows if row.message.rollout_id == self._rollout.rollout_id)
        self._sequence = rows[-1].sequence if rows else self._sequence
        return len(rows)

    def _mature(self, settings: LoopSettings, until: int) -> None:
        """Rewards that came early count only once those that had as long to come have come too."""
        waiting, self._waiting = self._waiting, deque()
        for row in waiting:
            if row.window_at > until:
                self._waiting.append(row)
                continue
            message = row.message
            in_version = message.arm == "canary"
            outcome = row.reward, in_version, _share(message), _cluster(message)
            self.evidence.rewards.add(*outcome)
            if settings.fairness.segments:
                for segment in segments_of(wire.decision_from_pb(message), settings):
                    self.evidence.segments.add(segment, *outcome)
            self.evidence.matured[message.rollout_step] += in_version

    def _take_in(self, message: events_pb2.DecisionMade) -> None:
        evidence, settings = self.evidence, self._rollout.settings
        self._count(evidence.arms, message)
        second, in_version = message.decided_at // SECOND, message.arm == "canary"
        is_rescued = not message.HasField("model_version") or message.model_version != message.assigned_version
        evidence.rescued.add(second, in_version, is_rescued)
        evidence.slow.add(second, in_version, message.decided_in > settings.guardrails.slow_after // MICROSECOND)
        if not message.HasField("model_version") or message.fallback_reason:
            return
        probabilities = wire.doubles_from_pb(message.probabilities).tolist()
        most = max(range(len(probabilities)), key=probabilities.__getitem__)
        drew_it = message.actions[most].id == message.action_id
        if probabilities[most] < CERTAIN or not drew_it:
            evidence.draws.add(drew_it, probabilities[most])
        if _entropy(probabilities) < settings.guardrails.least_entropy * _even_entropy(message):
            self._count(evidence.collapsed, message)

    def _count(self, test: ShareTest, message: events_pb2.DecisionMade) -> None:
        cluster = _cluster(message)
        counted = self._clusters.setdefault(test, set())
        if cluster is None or cluster not in counted:
            test.add(message.arm == "canary", _share(message))
        if cluster is not None:
            counted.add(cluster)


def _share(message: events_pb2.DecisionMade) -> float:
    """The version's."""
    return message.arm_share if message.arm == "canary" else 1 - message.arm_share


def _cluster(message: events_pb2.DecisionMade) -> str | None:
    return message.subject_id or message.episode_id or None


def _entropy(probabilities: list[float]) -> float:
    return -sum(one * math.log(one) for one in probabilities if one > 0)


def _even_entropy(message: events_pb2.DecisionMade) -> float:
    return math.log(max(1, len(message.actions) - len(message.excluded_action_ids)))
