"""States of experiences under the versions that did not decide them, so that every version that serves learns from all.

A version starts from the head statistics that it was shipped with; from the sequence that they cover on, it is given
each experience in order: from the log where it decided itself, else as encoding and fusion see it now.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final

import grpc
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from services.feedback.repository import (
    Joined,
    VersionBehind,
    forget_unnamed,
    is_there,
    read_joined,
    set_fed,
    versions_behind,
)
from services.feedback.windows import LoopKey
from shared import wire
from shared.db.engine import read_session, write_session
from shared.db.version_states import add_states
from shared.domain import Clock, Experience
from shared.eventlog import EventLog, EventLogError
from shared.events import EXPERIENCES, experience_record
from shared.pb.context.v1 import context_pb2
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.events.v1 import events_pb2
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Manifest
from shared.rollouts import HOLDOUT

BATCH: Final = 64
# Where nothing has to be encoded.
COUNTED: Final = 500
# Experiences without anything to feed that are looked through again after a restart, at most.
UNTOLD: Final = 1000
TIMEOUT: Final = 10.0
# How often every version is looked at, in seconds: what other joiners have joined, and what aliases name now. What this
# process joins it is told.
LOOK: Final = 0.5
RETRY: Final = 0.5
FORGET_INTERVAL: Final = 60.0

logger: Final = structlog.get_logger(__name__)


class Feeder:
    """Feeds every version that an alias names; does nothing until `step` or `run`."""

    def __init__(
        self,
        engine: Engine,
        log: EventLog,
        artifacts: ArtifactStore,
        encoding: EncodingServiceStub,
        fusion: FusionServiceStub,
        wall: Clock,
        is_on_duty: Callable[[], bool] = lambda: True,
        joined: "SimpleQueue[LoopKey] | None" = None,
    ) -> None:
        """`is_on_duty` says whether this process is the one that feeds now; `joined` brings loops with experiences."""
        self._engine = engine
        self._log = log
        self._artifacts = artifacts
        self._encoding = encoding
        self._fusion = fusion
        self._wall = wall
        self._is_on_duty = is_on_duty
        # By manifest: a version's name comes again where its loop is deleted and made anew.
        self._manifests: dict[str, Manifest] = {}
        self._looked_through: dict[str, int] = {}
        self._joined: SimpleQueue[LoopKey] = joined or SimpleQueue()
        self._forget_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Feeds until `stop`; what fails is tried again. Loops of which nothing is joined cost nothing but a look."""
        loops: set[LoopKey] | None = None
        while not stop.is_set():
            if loops is None:
                look_at = time.monotonic() + LOOK
            try:
                is_behind = self.step(loops)
            except (grpc.RpcError, SQLAlchemyError, EventLogError, ArtifactError) as error:
                logger.info("feeding_waits", error=type(error).__name__)
                stop.wait(RETRY)
                loops = None
                continue
            told = self._told(0.0 if is_behind else look_at - time.monotonic())
            if is_behind and loops is not None:
                told |= loops
            loops = told if told and time.monotonic() < look_at else None

    def _told(self, seconds: float) -> set[LoopKey]:
        """The loops of which something was joined, as soon as there is one."""
        loops: set[LoopKey] = set()
        with suppress(Empty):
            loops.add(self._joined.get(timeout=max(0.0, seconds)))
            while True:
                loops.add(self._joined.get_nowait())
        return loops

    def step(self, loops: Collection[LoopKey] | None = None) -> bool:
        """Gives each version that is behind one batch at most, of these loops or all; False where none was behind."""
        if not self._is_on_duty():
            return False
        if loops is None:
            self._forget()
        with read_session(self._engine) as session:
            found = versions_behind(session, loops)
        behind = [version for version in found if self._seen(version) < version.last_sequence]
        for version in behind:
            self._feed(version)
        return bool(behind)

    def _forget(self) -> None:
        """Now and then, what no version needs any more."""
        if time.monotonic() < self._forget_at:
            return
        with write_session(self._engine) as session:
            forget_unnamed(session)
        self._looked_through.clear()
        self._forget_at = time.monotonic() + FORGET_INTERVAL

    def _seen(self, version: VersionBehind) -> int:
        """How far the version has what it lacked; the database is behind where nothing was fed."""
        return max(version.fed_sequence, self._looked_through.get(version.manifest_sha256, 0))

    def _feed(self, version: VersionBehind) -> None:
        manifest = self._manifest(version)
        reads_actions = manifest.architecture.action_features
        ref, seen = version.ref, self._seen(version)
        # The log has what a version decided itself, unless that lacks the action's embedding.
        own = None if reads_actions else ref.version
        learns = not manifest.settings.learning.bootstraps
        most = BATCH if learns else COUNTED
        with read_session(self._engine) as session:
            lacking = read_joined(session, (ref.tenant, ref.loop_id), seen, most, not_decided_by=own)
        if lacking:
            now = self._wall()
            fed = self._under(version, lacking, reads_actions) if learns else _without_state(version, lacking)
            # The rows first: a reader that starts at the log's end finds in them all that stands before it.
            with write_session(self._engine) as session:
                if not is_there(session, version):
                    return
                add_states(session, ref.version, fed if learns else ())
            self._log.append(EXPERIENCES, [experience_record(experience, now) for experience in fed])
        last = lacking[-1][0].sequence if lacking else 0
        seen = last if len(lacking) == most else max(last, version.last_sequence)
        if lacking or seen - version.fed_sequence >= UNTOLD:
            with write_session(self._engine) as session:
                set_fed(session, version, seen)
        self._looked_through[version.manifest_sha256] = seen

    def _manifest(self, version: VersionBehind) -> Manifest:
        known = self._manifests.get(version.manifest_sha256)
        if known is None:
            known = Manifest.model_validate_json(self._artifacts.get(version.manifest_sha256))
            self._manifests[version.manifest_sha256] = known
        return known

    def _under(self, version: VersionBehind, joined: Sequence[Joined], reads_actions: bool) -> list[Experience]:
        """The experiences with states under the version; without one where encoding refuses a value."""
        model = wire.model_ref_to_pb(version.ref)
        encoded = self._encoding.Encode(
            encoding_pb2.EncodeRequest(
                model=model,
                contexts=[decision.context for _, decision in joined],
                actions=[_taken(decision, one.action_id) for one, decision in joined] if reads_actions else (),
            ),
            timeout=TIMEOUT,
        )
        fused = self._fusion.Fuse(
            fusion_pb2.FuseRequest(model=model, embeddings=encoded.embeddings, present=encoded.present),
            timeout=TIMEOUT,
        )
        states = wire.floats_from_pb(fused.states, 2)
        actions = wire.floats_from_pb(encoded.action_embeddings, 2) if reads_actions else [None] * len(joined)
        refused = {refusal.row for refusal in encoded.refusals}
        # Nothing is learned from the holdout.
        refused |= {row for row, (_, decision) in enumerate(joined) if decision.arm == HOLDOUT}
        return [
            replace(
                experience,
                model_version=version.ref.version,
                state=None if row in refused else states[row],
                action_embedding=None if row in refused else actions[row],
            )
            for row, (experience, _) in enumerate(joined)
        ]


def _without_state(version: VersionBehind, joined: Sequence[Joined]) -> list[Experience]:
    """For a version whose head only counts them."""
    return [replace(experience, model_version=version.ref.version, state=None) for experience, _ in joined]


def _taken(decision: events_pb2.DecisionMade, action_id: str) -> context_pb2.Action:
    listed = (action for action in decision.actions if action.id == action_id)
    return next(listed, context_pb2.Action(id=action_id))
