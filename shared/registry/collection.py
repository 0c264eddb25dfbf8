"""Garbage collection: versions that nothing needs give up their weights; their rows and manifests stay as lineage.

The row says so first, in a transaction that has looked whether anything needs the version; only then are files deleted
(shared/registry/model_artifacts.py). Cut off in between, files are left for the next time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from shared.db.engine import read_session, write_session
from shared.db.loops import lock_loop
from shared.db.offsets import read_offsets
from shared.db.tables import ModelVersionRow
from shared.domain import Retention
from shared.eventlog import EventLog
from shared.events import DECISIONS
from shared.registry.artifacts import ArtifactStore
from shared.registry.model_artifacts import delete_unneeded, know_artifacts, needed_artifacts, parts_of
from shared.registry.needs import SLACK, read_needs, why_needed

log: Final = structlog.get_logger(__name__)

NEWEST: Final = "it is one of the newest"


@dataclass(frozen=True, slots=True)
class Collected:
    """Versions that gave up their weights, or would; those that keep them, with why; and how many bytes they had that
    no other version has."""

    versions: tuple[int, ...]
    kept: Mapping[int, str]
    bytes: int


@dataclass(frozen=True, slots=True)
class Collector:
    """Blocks on the database and the artifact store. Several at once do no harm."""

    engine: Engine
    store: ArtifactStore
    event_log: EventLog
    retention: Retention

    def collect(self, tenant: str, loop_id: str, now: int, *, dry_run: bool = False) -> Collected:
        """Has a loop's versions that nothing needs give up their weights.

        Raises:
            ArtifactError: a manifest cannot be read; nothing was changed.
            EventLogError: the log is away, so that nobody knows which decisions are on their way.
        """
        # A version decides a little longer than an alias names it.
        is_joined = self._has_joined(now - self.retention.least_age + SLACK)
        with (read_session if dry_run else write_session)(self.engine) as session:
            if not dry_run:
                lock_loop(session, tenant, loop_id)
            rows = _candidates(session, tenant, loop_id)
            needs = read_needs(session, tenant, loop_id, now - self.retention.least_age)
            kept = {row.version: NEWEST for row in rows[: self.retention.versions]}
            for row in rows[self.retention.versions :]:
                if (why := why_needed(session, row, needs, is_joined)) is not None:
                    kept[row.version] = why
            given_up = [row for row in rows if row.version not in kept]
            versions, unneeded = tuple(row.version for row in given_up), self._unneeded(session, given_up)
            if not dry_run:
                know_artifacts(session, unneeded)
                for row in given_up:
                    row.collected_at = now
        if versions and not dry_run:
            log.info("versions_collected", loop_id=loop_id, versions=versions)
        return Collected(versions, kept, sum(self.store.size(one) or 0 for one in unneeded))

    def delete_files(self, now: int) -> int:
        """Deletes the weights that no version has any more; how many bytes that freed.

        Raises:
            ArtifactError: a manifest cannot be read; nothing was deleted.
        """
        return delete_unneeded(self.engine, self.store, now - self.retention.least_age)

    def _unneeded(self, session: Session, given_up: Collection[ModelVersionRow]) -> set[str]:
        parts = {sha256 for row in given_up for sha256 in parts_of(self.store, row.manifest_sha256)}
        return parts - needed_artifacts(session, self.store, given_up) if parts else parts

    def _has_joined(self, until: int) -> bool:
        """Whether every decision that was logged before then stands in the database."""
        ends = self.event_log.ends(DECISIONS)
        with read_session(self.engine) as session:
            offsets = read_offsets(session).get(DECISIONS, {})
        for partition, end in ends.items():
            offset = offsets.get(partition, 0)
            waiting = self.event_log.read(DECISIONS, partition, offset, 1) if offset < end else []
            if waiting and waiting[0].appended_at < until:
                return False
        return True


def _candidates(session: Session, tenant: str, loop_id: str) -> list[ModelVersionRow]:
    """Versions that have weights, newest first."""
    of = ModelVersionRow
    query = select(of).where(of.tenant == tenant, of.loop_id == loop_id, of.collected_at.is_(None))
    return list(session.scalars(query.order_by(of.version.desc())))
