"""Model versions and the aliases that name them. Every change goes through here, inside the caller's transaction."""

from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from shared.db.loops import lock_loop
from shared.db.tables import AliasMoveRow, ModelAliasRow, ModelVersionRow
from shared.domain import Alias, AliasPointer, ModelRef, ModelStatus, ModelVersion


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One entry of an alias's history; `version` is None where the alias was taken away."""

    epoch: int
    alias: Alias
    version: int | None
    previous_version: int | None
    moved_at: int
    moved_by: str


def next_version(session: Session, tenant: str, loop_id: str) -> int:
    """The number that the loop's next version gets, from 1; nobody else gets it in the meantime."""
    lock_loop(session, tenant, loop_id)
    newest = session.scalar(
        select(func.max(ModelVersionRow.version)).where(
            ModelVersionRow.tenant == tenant, ModelVersionRow.loop_id == loop_id
        )
    )
    return (newest or 0) + 1


def add_version(session: Session, version: ModelVersion) -> None:
    """Registers a version whose parts and manifest are durable in the artifact store; it is never changed again."""
    session.add(
        ModelVersionRow(
            tenant=version.tenant,
            loop_id=version.loop_id,
            version=version.version,
            status=version.status,
            parent=version.parent,
            manifest_sha256=version.manifest_sha256,
            covers_sequence=version.covers_sequence,
            settings_revision=version.settings_revision,
            training_run_id=version.training_run_id,
            metrics=dict(version.metrics),
            created_at=version.created_at,
        )
    )


def restore_version(session: Session, ref: ModelRef) -> ModelStatus:
    """What a version is, now that its weights are there (again)."""
    row = session.get_one(ModelVersionRow, (ref.tenant, ref.loop_id, ref.version))
    row.collected_at = None
    return _version(row).status


def read_version(session: Session, ref: ModelRef) -> ModelVersion | None:
    row = session.get(ModelVersionRow, (ref.tenant, ref.loop_id, ref.version))
    return None if row is None else _version(row)


def read_versions(session: Session, tenant: str, loop_id: str) -> list[ModelVersion]:
    """All versions of a loop, newest first."""
    rows = session.scalars(
        select(ModelVersionRow)
        .where(ModelVersionRow.tenant == tenant, ModelVersionRow.loop_id == loop_id)
        .order_by(ModelVersionRow.version.desc())
    )
    return [_version(row) for row in rows]


def move_alias(session: Session, ref: ModelRef, alias: Alias, now: int, by: str = "trainer") -> AliasPointer:
    """Points an alias at a ready version; services load it ahead and serve it once all of them have it.

    `by` says in the alias's history who did it.

    Raises:
        LookupError: there is no such version, or it is not ready.
    """
    lock_loop(session, ref.tenant, ref.loop_id)
    version = read_version(session, ref)
    if version is None or version.status != "ready":
        raise LookupError(f"version {ref.version} of loop {ref.loop_id} is not ready")
    row = session.get(ModelAliasRow, (ref.tenant, ref.loop_id, alias))
    epoch = _note_move(session, ref, alias, ref.version, None if row is None else row.version, now, by)
    if row is None:
        row = ModelAliasRow(tenant=ref.tenant, loop_id=ref.loop_id, alias=alias)
        session.add(row)
    else:
        row.previous_version = row.version
    row.version = ref.version
    row.alias_epoch = epoch
    row.moved_at = now
    session.flush()
    return _pointer(row)


def take_alias_away(session: Session, tenant: str, loop_id: str, alias: Alias, now: int, by: str) -> None:
    """Nothing bears the alias any more; does nothing where nothing did."""
    lock_loop(session, tenant, loop_id)
    row = session.get(ModelAliasRow, (tenant, loop_id, alias))
    if row is not None:
        _note_move(session, ModelRef(tenant, loop_id, row.version), alias, None, row.version, now, by)
        session.delete(row)
        session.flush()


def read_alias_moves(
    session: Session, tenant: str, loop_id: str, limit: int, before: int | None = None
) -> list[AliasMove]:
    """Newest first; `before` is the epoch that the page before this one ended with."""
    of = AliasMoveRow
    query = select(of).where(of.tenant == tenant, of.loop_id == loop_id)
    if before is not None:
        query = query.where(of.epoch < before)
    rows = session.scalars(query.order_by(of.epoch.desc()).limit(limit))
    return [
        AliasMove(row.epoch, row.alias, row.version, row.previous_version, row.moved_at, row.moved_by)  # type: ignore[arg-type] # only move_alias writes it
        for row in rows
    ]


def _note_move(
    session: Session, ref: ModelRef, alias: Alias, version: int | None, previous: int | None, now: int, by: str
) -> int:
    """The epoch of the move, above all of the loop's before it."""
    newest = [
        session.scalar(select(func.max(epoch)).where(row.tenant == ref.tenant, row.loop_id == ref.loop_id))
        for row, epoch in ((AliasMoveRow, AliasMoveRow.epoch), (ModelAliasRow, ModelAliasRow.alias_epoch))
    ]
    epoch = max(one or 0 for one in newest) + 1
    session.add(
        AliasMoveRow(
            tenant=ref.tenant,
            loop_id=ref.loop_id,
            epoch=epoch,
            alias=alias,
            version=version,
            previous_version=previous,
            moved_at=now,
            moved_by=by,
        )
    )
    return epoch


def read_champion(session: Session, tenant: str, loop_id: str) -> ModelVersion | None:
    row = session.get(ModelAliasRow, (tenant, loop_id, "champion"))
    return None if row is None else read_version(session, ModelRef(tenant, loop_id, row.version))


def read_aliases(session: Session) -> list[AliasPointer]:
    """Every alias of every loop, in order of tenant, loop and alias."""
    order = (ModelAliasRow.tenant, ModelAliasRow.loop_id, ModelAliasRow.alias)
    return [_pointer(row) for row in session.scalars(select(ModelAliasRow).order_by(*order))]


def wanted_versions(session: Session) -> dict[ModelRef, str]:
    """Version → manifest SHA-256 of what a model service should have loaded: all that aliases name and named before."""
    of, alias = ModelVersionRow, ModelAliasRow
    named = or_(of.version == alias.version, of.version == alias.previous_version)
    # One query: it is asked several times a second, of every loop.
    query = (
        select(of.tenant, of.loop_id, of.version, of.manifest_sha256)
        .join(alias, and_(alias.tenant == of.tenant, alias.loop_id == of.loop_id, named))
        .where(of.status == "ready", of.collected_at.is_(None))
        .order_by(of.tenant, of.loop_id, of.version)
    )
    return {ModelRef(tenant, loop_id, version): sha256 for tenant, loop_id, version, sha256 in session.execute(query)}


def _status(row: ModelVersionRow) -> ModelStatus:
    if row.collected_at is not None:
        return "collected"
    return "ready" if row.status == "ready" else "rejected"


def _version(row: ModelVersionRow) -> ModelVersion:
    return ModelVersion(
        tenant=row.tenant,
        loop_id=row.loop_id,
        version=row.version,
        status=_status(row),
        parent=row.parent,
        manifest_sha256=row.manifest_sha256,
        covers_sequence=row.covers_sequence,
        settings_revision=row.settings_revision,
        training_run_id=row.training_run_id,
        metrics={name: value for name, value in row.metrics.items() if isinstance(value, int | float | str | None)},
        created_at=row.created_at,
    )


def _pointer(row: ModelAliasRow) -> AliasPointer:
    alias: Alias = row.alias  # type: ignore[assignment] # only move_alias writes it
    return AliasPointer(
        row.tenant, row.loop_id, alias, row.version, row.previous_version, row.alias_epoch, row.moved_at
    )
