"""States of experiences under the versions that did not decide them, so that every version that serves learns from all.

A version starts from the head statistics that it was shipped with; from the sequence that they cover on, it is given
each experience in order: from the log where it decided itself, else as encoding and fusion see it now.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import grpc
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from services.feedback.repository import VersionBehind, read_joined, set_fed, versions_behind
from shared import wire
from shared.db.engine import read_session, write_session
from shared.domain import Action, Clock, Decision, Experience
from shared.eventlog import EventLog, EventLogError
from shared.events import EXPERIENCES, experience_record
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Manifest

BATCH: Final = 64
TIMEOUT: Final = 10.0
PAUSE: Final = 0.02
RETRY: Final = 0.5

logger: Final = structlog.get_logger(__name__)

# An experience as it was joined, and the decision that it comes from.
Joined = tuple[Experience, Decision]


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
    ) -> None:
        self._engine = engine
        self._log = log
        self._artifacts = artifacts
        self._encoding = encoding
        self._fusion = fusion
        self._wall = wall
        self._manifests: dict[str, Manifest] = {}

    def run(self, stop: threading.Event) -> None:
        """Feeds until `stop`; what fails is tried again."""
        pause = 0.0
        while not stop.wait(pause):
            try:
                pause = 0.0 if self.step() else PAUSE
            except (grpc.RpcError, SQLAlchemyError, EventLogError, ArtifactError) as error:
                pause = RETRY
                logger.info("feeding_waits", error=type(error).__name__)

    def step(self) -> bool:
        """Gives each version that is behind one batch at most; False where none was behind."""
        with read_session(self._engine) as session:
            behind = versions_behind(session)
        for version in behind:
            self._feed(version)
        return bool(behind)

    def _feed(self, version: VersionBehind) -> None:
        with read_session(self._engine) as session:
            joined = read_joined(session, version, BATCH)
        manifest = self._manifest(version)
        reads_actions = manifest.architecture.action_features
        lacking = [row for row in joined if reads_actions or row[0].model_version != version.ref.version]
        if lacking:
            now = self._wall()
            learns = not manifest.settings.learning.bootstraps
            fed = self._under(version, lacking, reads_actions) if learns else _without_state(version, lacking)
            self._log.append(EXPERIENCES, [experience_record(experience, now) for experience in fed])
        with write_session(self._engine) as session:
            set_fed(session, version, joined[-1][0].sequence)

    def _manifest(self, version: VersionBehind) -> Manifest:
        known = self._manifests.get(version.manifest_sha256)
        if known is None:
            known = Manifest.model_validate_json(self._artifacts.get(version.manifest_sha256))
            self._manifests[version.manifest_sha256] = known
        return known

    def _under(self, version: VersionBehind, joined: Sequence[Joined], reads_actions: bool) -> list[Experience]:
        """The experiences with states under the version; without one where encoding refuses a value."""
        model = wire.model_ref_to_pb(version.ref)
        taken = [_taken(decision, experience.action_id) for experience, decision in joined]
        encoded = self._encoding.Encode(
            encoding_pb2.EncodeRequest(
                model=model,
                contexts=[wire.context_to_pb(decision.context) for _, decision in joined],
                actions=map(wire.action_to_pb, taken) if reads_actions else (),
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


def _taken(decision: Decision, action_id: str) -> Action:
    return next((action for action in decision.actions if action.id == action_id), Action(action_id))
