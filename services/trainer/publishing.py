"""A version becomes part of the registry: parts, then the manifest, then its row with its alias and its run's end."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.trainer.leasing import Lease
from services.trainer.networks import Networks
from shared.db.engine import write_session
from shared.domain import Clock, ModelVersion, RunStatus, TrainingRun
from shared.eventlog import EventLog, EventLogError
from shared.events import MODELS, ModelPublished, model_record
from shared.loop_settings import Loop
from shared.networks.online_head import HeadStatistics
from shared.networks.parts import save_module, save_policy
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import CurvePoint, DataWindow, Manifest, Part
from shared.registry.model_artifacts import hold_artifacts, store_parts
from shared.registry.rollouts import open_rollout, start_rollout
from shared.registry.versions import add_version, move_alias, next_version, read_champion

log: Final = structlog.get_logger(__name__)

DISTRIBUTION: Final = "rewardloop-platform"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version before it has a number; `detail` says why it takes over, or why not."""

    networks: Networks
    statistics: HeadStatistics
    parent: int | None
    covers_sequence: int
    metrics: dict[str, float | str | None]
    takes_over: bool
    detail: str | None = None
    data_window: DataWindow | None = None
    training_curve: Sequence[CurvePoint] = ()


@dataclass(frozen=True, slots=True)
class Publisher:
    """Writes a version whole or not at all."""

    engine: Engine
    artifacts: ArtifactStore
    event_log: EventLog
    clock: Clock

    def publish(self, run: TrainingRun, loop: Loop, candidate: Candidate, lease: Lease) -> ModelVersion:
        """The registered version, with the run ended; a candidate that takes over does so by the loop's rollout.

        Raises:
            LeaseLostError: another worker has the run; nothing but unnamed artifacts was written.
        """
        parts = self._store_parts(candidate)
        now = self.clock()
        with write_session(self.engine) as session:
            hold_artifacts(session, self.artifacts, parts.values(), now)
            number = next_version(session, loop.tenant, loop.loop_id)
            manifest = _manifest(loop, run, candidate, number, parts, now)
            # Inside the transaction, since it holds the number; the row must not come before it is durable.
            sha256 = self.artifacts.put(manifest.model_dump_json().encode())
            version = _version(manifest, sha256, candidate.takes_over)
            add_version(session, version)
            session.flush()
            detail = candidate.detail
            if candidate.takes_over:
                detail = _take_over(session, loop, version, now, detail)
            status: RunStatus = "succeeded" if candidate.takes_over else "skipped"
            lease.finish(session, status, version.version, detail)
        if candidate.takes_over:
            self._announce(ModelPublished(loop.tenant, loop.loop_id, version.version, now))
        return version

    def _announce(self, event: ModelPublished) -> None:
        try:
            self.event_log.append(MODELS, [model_record(event)])
        except EventLogError as error:
            # Services look at the registry by themselves: the event only makes them look sooner.
            log.warning("model_not_announced", loop_id=event.loop_id, version=event.version, reason=str(error))

    def _store_parts(self, candidate: Candidate) -> dict[Part, str]:
        networks = candidate.networks
        files: dict[Part, bytes] = {
            "encoding": save_module(networks.encoder),
            "fusion": save_module(networks.fusion),
            "policy": save_policy(networks.q_network, candidate.statistics),
        }
        return store_parts(self.engine, self.artifacts, files, self.clock())


def _take_over(session: Session, loop: Loop, version: ModelVersion, now: int, detail: str | None) -> str | None:
    """Has a version that may serve do so as the loop's rollout says; the run's detail, with what that came to.

    While another rollout is under way it waits as the challenger.
    """
    by, rollout = f"training run {version.training_run_id}", loop.settings.rollout
    if open_rollout(session, loop.tenant, loop.loop_id) is not None:
        move_alias(session, version.ref, "challenger", now, by)
        return f"{detail}; a rollout is under way: it waits as the challenger"
    if rollout.strategy == "immediate" or read_champion(session, loop.tenant, loop.loop_id) is None:
        move_alias(session, version.ref, "champion", now, by)
        return detail
    begun = start_rollout(session, version.ref, rollout, now, by)
    return f"{detail}; in rollout {begun.rollout_id}"


def _manifest(
    loop: Loop, run: TrainingRun, candidate: Candidate, number: int, parts: dict[Part, str], now: int
) -> Manifest:
    return Manifest(
        tenant=loop.tenant,
        loop_id=loop.loop_id,
        version=number,
        parent=candidate.parent,
        training_run_id=run.training_run_id,
        created_at=now,
        code_version=installed_version(DISTRIBUTION),
        settings=loop.settings,
        settings_revision=loop.settings_revision,
        architecture=candidate.networks.architecture,
        parts=parts,
        covers_sequence=candidate.covers_sequence,
        metrics=candidate.metrics,
        data_window=candidate.data_window,
        training_curve=list(candidate.training_curve),
    )


def _version(manifest: Manifest, sha256: str, ready: bool) -> ModelVersion:
    return ModelVersion(
        tenant=manifest.tenant,
        loop_id=manifest.loop_id,
        version=manifest.version,
        status="ready" if ready else "rejected",
        parent=manifest.parent,
        manifest_sha256=sha256,
        covers_sequence=manifest.covers_sequence,
        settings_revision=manifest.settings_revision,
        training_run_id=manifest.training_run_id,
        metrics=manifest.metrics,
        created_at=manifest.created_at,
    )
