"""The online heads: every version that is loaded learns from every experience, in order, under its own states.

A head starts from the statistics that its version was shipped with and takes the sequences behind those one after the
other, so that replicas agree: first what the database has of them, then what the log brings, once under each version.
Where the log lacks the next one, the database is asked again.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError

from services.policy.observing import Observer
from shared import wire
from shared.clocks import seconds_left
from shared.domain import Clock, Experience, ModelRef
from shared.eventlog import EventLog, EventLogError, StoredRecord
from shared.events import EXPERIENCES, event_from_record
from shared.networks.policy import Policy
from shared.registry.loading import Loaded, LoadedVersions

BATCH: Final = 1000
# From the beginning of one look into the log to that of the next, where a look takes no longer: a posterior costs the
# same for one experience as for many.
PACE: Final = 0.1
RETRY: Final = 0.5
# Between two looks into the database for what the log lacks, in microseconds.
ASK_INTERVAL: Final = 1_000_000

logger: Final = structlog.get_logger(__name__)


# Of a version, what the database has beyond a sequence, so many at most.
Read = Callable[[Loaded[Policy], int, int], list[Experience]]


@dataclass(frozen=True, slots=True)
class Head:
    """A version's policy as it is after the experiences up to a sequence."""

    loaded: Loaded[Policy]
    policy: Policy
    sequence: int


class OnlineHeads:
    """Reads the experiences topic from its end, in a thread of its own; `current` may be asked from any."""

    def __init__(
        self, loaded: LoadedVersions[Policy], log: EventLog, read: Read, monotonic: Clock, observer: Observer
    ) -> None:
        self._loaded = loaded
        self._log = log
        self._read_stored = read
        self._monotonic = monotonic
        self._observer = observer
        self._unread = 0
        # By partition; not known before the log was first asked.
        self._offsets: dict[int, int] | None = None
        self._heads: dict[ModelRef, Head] = {}
        # Sequence → experience that a version has not come to yet.
        self._waiting: dict[ModelRef, dict[int, Experience]] = {}
        # Versions that have all that stood in the database, and when to ask it for the rest.
        self._caught_up: dict[ModelRef, Loaded[Policy]] = {}
        self._ask_at: dict[ModelRef, int] = {}

    @property
    def behind(self) -> int:
        """Experiences that heads have not come to, and those that stood in the log unread when it was last asked."""
        return self._unread + sum(map(len, list(self._waiting.values())))

    def current(self, version: Loaded[Policy]) -> Head:
        """What a loaded version decides with now."""
        manifest = version.manifest
        head = self._heads.get(ModelRef(manifest.tenant, manifest.loop_id, manifest.version))
        if head is None or head.loaded is not version:
            return Head(version, version.part, manifest.covers_sequence)
        return head

    def run(self, stop: threading.Event) -> None:
        """Learns until `stop`."""
        pause = 0.0
        while not stop.wait(pause):
            began = self._monotonic()
            try:
                self.step()
                pause = seconds_left(PACE, began, self._monotonic())
            except EventLogError as error:
                pause = RETRY
                logger.warning("learning_waits", reason=str(error))

    def step(self) -> bool:
        """Reads a batch, and lets every head learn what it has come to; False where there was nothing to read.

        Raises:
            EventLogError: the log is away; what the database has is learned as soon as it is back.
        """
        records = self._read()
        versions = self._loaded.versions
        for stored in records:
            try:
                event = event_from_record(stored.record)
            except wire.WireError as error:
                logger.warning("experience_unreadable", offset=stored.position.offset, reason=str(error))
                continue
            if isinstance(event, Experience) and event.model_version is not None:
                ref = ModelRef(event.tenant, event.loop_id, event.model_version)
                # What is not loaded yet finds it in the database.
                if ref in versions:
                    self._waiting.setdefault(ref, {})[event.sequence] = event
        catching_up = [self._advance(ref, version) for ref, version in versions.items()]
        self._forget(versions)
        return bool(records) or any(catching_up)

    def _advance(self, ref: ModelRef, version: Loaded[Policy]) -> bool:
        """Learns what has come, and what the database has of the rest; True where that may have more."""
        if self._waiting.get(ref):
            self._learn(ref, self.current(version), self._waiting[ref])
        is_new = self._caught_up.get(ref) is not version
        if not (is_new or self._waiting.get(ref)) or self._monotonic() < self._ask_at.get(ref, 0):
            return False
        head = self.current(version)
        try:
            stored = self._read_stored(version, head.sequence, BATCH)
        except SQLAlchemyError as error:
            logger.warning("catching_up_waits", loop_id=ref.loop_id, error=type(error).__name__)
            self._ask_at[ref] = self._monotonic() + ASK_INTERVAL
            return False
        waiting = self._waiting.get(ref, {}) | {one.sequence: one for one in stored}
        self._learn(ref, head, waiting)
        if len(stored) == BATCH:
            return True
        self._caught_up[ref] = version
        self._ask_at[ref] = self._monotonic() + ASK_INTERVAL
        return False

    def _read(self) -> list[StoredRecord]:
        """What is new, a batch of each partition at most; a loop's experiences stand in one, in order."""
        records: list[StoredRecord] = []
        ends = self._log.ends(EXPERIENCES)
        if self._offsets is None:
            self._offsets = dict(ends)
        for partition, end in ends.items():
            offset = self._offsets.get(partition, 0)
            if offset < end:
                found = self._log.read(EXPERIENCES, partition, offset, BATCH)
                # Nothing below the end that was seen before: retention has dropped it.
                self._offsets[partition] = found[-1].position.offset + 1 if found else end
                records += found
        self._unread = sum(end - self._offsets.get(partition, 0) for partition, end in ends.items())
        return records

    def _learn(self, ref: ModelRef, head: Head, waiting: dict[int, Experience]) -> None:
        following: list[Experience] = []
        sequence = head.sequence
        while (experience := waiting.get(sequence + 1)) is not None and _is_whole(experience, head.policy):
            sequence += 1
            following.append(experience)
        self._waiting[ref] = {number: waiting[number] for number in waiting if number > sequence}
        if following:
            with self._observer.learning(ref, following):
                self._heads[ref] = Head(head.loaded, _after(head, following), sequence)

    def _forget(self, refs: Collection[ModelRef]) -> None:
        """Drops what is kept of versions that are not loaded any more."""
        self._heads = {ref: head for ref, head in self._heads.items() if ref in refs}
        self._waiting = {ref: waiting for ref, waiting in self._waiting.items() if ref in refs and waiting}
        self._caught_up = {ref: loaded for ref, loaded in self._caught_up.items() if ref in refs}
        self._ask_at = {ref: at for ref, at in self._ask_at.items() if ref in refs}


def _is_whole(experience: Experience, policy: Policy) -> bool:
    """Whether it holds all that the version reads; what does not comes again from the feeder."""
    has_action = experience.action_embedding is not None or not policy.architecture.action_features
    return has_action or experience.state is None


def _after(head: Head, experiences: Sequence[Experience]) -> Policy:
    """The policy with these learned; one whose context the version cannot read teaches it nothing.

    Nor does any teach a version of Q-learning: what followed an experience is not known when it closes. The next
    version's statistics rest on it.
    """
    if head.loaded.manifest.settings.learning.bootstraps:
        return head.policy
    readable = [one for one in experiences if one.state is not None and not _is_imitated(head, one)]
    joined = [experience for experience in readable if experience.previous_reward is None]
    restated = [experience for experience in readable if experience.previous_reward is not None]
    # Sums commute: all new ones may come before all that are restated.
    policy = _learned(head, head.policy, joined) if joined else head.policy
    return _learned(head, policy, restated) if restated else policy


def _is_imitated(head: Head, experience: Experience) -> bool:
    """A version that was made of an apprentice expects of the baseline's action how right it is to choose, not what it
    earns: the next version learns that from it."""
    apprentice = head.loaded.manifest.settings.learning_mode == "apprentice"
    return apprentice and experience.probability == 1.0


def _learned(head: Head, policy: Policy, experiences: Sequence[Experience]) -> Policy:
    low, high = head.loaded.manifest.settings.reward.range
    actions = [one.action_embedding for one in experiences if one.action_embedding is not None]
    rewards_N = torch.tensor([one.reward for one in experiences], dtype=torch.float64)
    previous = [one.previous_reward for one in experiences if one.previous_reward is not None]
    previous_N = torch.tensor(previous, dtype=torch.float64)
    # Not inference mode: what it makes has no gradients, and an explanation asks for them.
    with torch.no_grad():
        return policy.learned(
            torch.from_numpy(np.stack([one.state for one in experiences if one.state is not None])),
            [one.action_id for one in experiences],
            torch.from_numpy(np.stack(actions)) if actions else None,
            (rewards_N - low) / (high - low),
            torch.tensor([one.decided_at for one in experiences]),
            (previous_N - low) / (high - low) if previous else None,
        )
