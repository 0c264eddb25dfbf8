"""Files of weights: known by a row before they are written, until after they are deleted.

Whoever is about to register a version says so first. A file is deleted under its row's lock, only if no registered
version has it and nobody has said so lately: he who says it afterwards finds the row gone, and writes the file anew.
"""

from collections.abc import Collection, Mapping

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from shared.db.dialects import insert_on_conflict
from shared.db.engine import read_session, write_session
from shared.db.tables import MediaRow, ModelArtifactRow, ModelVersionRow
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Manifest, Part

log = structlog.get_logger(__name__)


def store_parts(engine: Engine, store: ArtifactStore, files: Mapping[Part, bytes], now: int) -> dict[Part, str]:
    """Makes a version's parts durable before it is registered; their SHA-256."""
    parts = {part: ArtifactStore.sha256_of(data) for part, data in files.items()}
    with write_session(engine) as session:
        keep_artifacts(session, parts.values(), now)
    for data in files.values():
        store.put(data)
    return parts


def hold_artifacts(session: Session, store: ArtifactStore, sha256s: Collection[str], now: int) -> None:
    """Keeps what is there, in the transaction that registers the version.

    Raises:
        ArtifactError: one is gone: it took longer to come here than anything is kept.
    """
    keep_artifacts(session, sha256s, now)
    for sha256 in sha256s:
        if sha256 not in store:
            raise ArtifactError(f"artifact {sha256} is gone")


def keep_artifacts(session: Session, sha256s: Collection[str], now: int) -> None:
    """Nobody deletes these before the transaction ends, nor for a while after."""
    # In one order, so that two never wait for each other.
    for sha256 in sorted(set(sha256s)):
        insert = insert_on_conflict(session, ModelArtifactRow).values(sha256=sha256, kept_at=now)
        session.execute(insert.on_conflict_do_update(index_elements=["sha256"], set_={"kept_at": now}))


def know_artifacts(session: Session, sha256s: Collection[str]) -> None:
    """Has rows for files of versions that were registered before there were any."""
    for sha256 in sorted(set(sha256s)):
        insert = insert_on_conflict(session, ModelArtifactRow).values(sha256=sha256, kept_at=0)
        session.execute(insert.on_conflict_do_nothing())


def delete_unneeded(engine: Engine, store: ArtifactStore, kept_since: int) -> int:
    """Deletes the weights that no registered version has, unless somebody was about to register one since then.

    How many bytes that freed. Cut off, it goes on where it was the next time.

    Raises:
        ArtifactError: the manifest of a version cannot be read, so that nobody knows what it needs; nothing is deleted.
    """
    with read_session(engine) as session:
        old = list(session.scalars(select(ModelArtifactRow.sha256).where(ModelArtifactRow.kept_at < kept_since)))
        needed = needed_artifacts(session, store) if old else frozenset()
    freed = sum(_delete(engine, store, sha256, kept_since) for sha256 in old if sha256 not in needed)
    if freed:
        log.info("weights_deleted", bytes=freed)
    return freed


def needed_artifacts(session: Session, store: ArtifactStore, without: Collection[ModelVersionRow] = ()) -> set[str]:
    """The parts of every registered version of every tenant, some left out, that has not been collected.

    Raises:
        ArtifactError: a manifest cannot be read.
    """
    rows = session.scalars(select(ModelVersionRow).where(ModelVersionRow.collected_at.is_(None)))
    return {sha256 for row in rows if row not in without for sha256 in parts_of(store, row.manifest_sha256)}


def parts_of(store: ArtifactStore, manifest_sha256: str) -> Collection[str]:
    """SHA-256 of a version's parts.

    Raises:
        ArtifactError: its manifest cannot be read.
    """
    try:
        return Manifest.model_validate_json(store.get(manifest_sha256)).parts.values()
    except ValidationError as error:
        raise ArtifactError(f"manifest {manifest_sha256} cannot be read") from error


def _delete(engine: Engine, store: ArtifactStore, sha256: str, kept_since: int) -> int:
    with write_session(engine) as session:
        row = session.get(ModelArtifactRow, sha256, with_for_update=True)
        if row is None or row.kept_at >= kept_since:
            return 0
        session.delete(row)
        # The same bytes may have been sent as media.
        is_media = session.scalar(select(MediaRow.sha256).where(MediaRow.sha256 == sha256).limit(1)) is not None
        return 0 if is_media else store.delete(sha256)
