"""Loops, model versions and keys in memory: read again every second, served stale while the database is away."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.gateway import repository
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import LoopKey
from shared.db.engine import read_session
from shared.db.loops import read_loop
from shared.domain import Action, AliasPointer, Clock, ModelRef
from shared.loop_settings import Loop
from shared.registry.artifacts import ArtifactError
from shared.registry.manifest import Manifest
from shared.registry.rollouts import open_rollouts
from shared.registry.versions import read_aliases, wanted_versions
from shared.rollouts import Rollout
from shared.security import ApiKey
from shared.wire import logged_action

log: Final = structlog.get_logger(__name__)

ReadArtifact = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class ServedLoop:
    """A loop with its listed actions as candidates."""

    loop: Loop
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database held at one moment; `aliases` of a loop are by name."""

    loops: Mapping[LoopKey, ServedLoop] = field(default_factory=dict)
    aliases: Mapping[LoopKey, Mapping[str, AliasPointer]] = field(default_factory=dict)
    # Whether a servable version reads the actions' features.
    reads_actions: Mapping[ModelRef, bool] = field(default_factory=dict)
    # SHA-256 of each version's manifest: a loop that is deleted and made again numbers its versions from 1 again.
    manifests: Mapping[ModelRef, str] = field(default_factory=dict)
    keys: Mapping[bytes, ApiKey] = field(default_factory=dict)
    # The one that is under way in a loop.
    rollouts: Mapping[LoopKey, Rollout] = field(default_factory=dict)
    read_at: int = 0


class Directory:
    """The newest snapshot. Reading it costs nothing and never fails."""

    def __init__(self, engine: Engine, read_artifact: ReadArtifact, clock: Clock) -> None:
        self._engine = engine
        self._read_artifact = read_artifact
        self._clock = clock
        self._refreshing = threading.Lock()
        self.snapshot = Snapshot()

    def loop(self, tenant: str, loop_id: str) -> ServedLoop | None:
        return self.snapshot.loops.get((tenant, loop_id))

    def required_loop(self, tenant: str, loop_id: str) -> ServedLoop:
        """The tenant's loop.

        Raises:
            Problem: the tenant has none of this name, whoever else may have one.
        """
        served = self.loop(tenant, loop_id)
        if served is None:
            raise Problem(ProblemType.UNKNOWN_LOOP, "Create it with PUT /v1/loops/{loop_id}.", "loop_id")
        return served

    def loops(self, tenant: str) -> list[Loop]:
        """The tenant's loops, by loop id."""
        return [served.loop for (owner, _), served in sorted(self.snapshot.loops.items()) if owner == tenant]

    def aliases(self, tenant: str, loop_id: str) -> Mapping[str, AliasPointer]:
        return self.snapshot.aliases.get((tenant, loop_id), {})

    def rollout(self, tenant: str, loop_id: str) -> Rollout | None:
        """The one that is under way in a loop."""
        return self.snapshot.rollouts.get((tenant, loop_id))

    def key(self, sha256: bytes) -> ApiKey | None:
        """The key with this digest, unless it was revoked."""
        return self.snapshot.keys.get(sha256)

    def refresh(self) -> None:
        """Reads everything that changed; afterwards every transaction that was committed before the call is seen."""
        with self._refreshing:
            old = self.snapshot
            read_at = self._clock()
            with read_session(self._engine) as session:
                aliases: dict[LoopKey, dict[str, AliasPointer]] = {}
                for pointer in read_aliases(session):
                    aliases.setdefault((pointer.tenant, pointer.loop_id), {})[pointer.alias] = pointer
                loops = _read_loops(session, old)
                keys = {key.sha256: key for key in repository.read_keys(session) if key.revoked_at is None}
                manifests = wanted_versions(session)
                rollouts = {(one.tenant, one.loop_id): one for one in open_rollouts(session)}
            reads_actions = self._reads_actions(manifests, old)
            self.snapshot = Snapshot(loops, aliases, reads_actions, manifests, keys, rollouts, read_at)

    def keep_fresh(self, interval: float) -> Callable[[], None]:
        """Refreshes in a thread of its own; the function that is returned ends that."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(interval):
                try:
                    self.refresh()
                except SQLAlchemyError as error:
                    log.warning("directory is stale", error=type(error).__name__)

        threading.Thread(target=run, name="directory", daemon=True).start()
        return stop.set

    def _reads_actions(self, manifests: Mapping[ModelRef, str], old: Snapshot) -> dict[ModelRef, bool]:
        found: dict[ModelRef, bool] = {}
        for ref, sha256 in manifests.items():
            known = old.reads_actions.get(ref)
            try:
                found[ref] = self._read_manifest(sha256).architecture.action_features if known is None else known
            except (ArtifactError, ValidationError) as error:
                log.warning("version has no readable manifest", ref=str(ref), error=type(error).__name__)
        return found

    def _read_manifest(self, sha256: str) -> Manifest:
        return Manifest.model_validate_json(self._read_artifact(sha256))


def _read_loops(session: Session, old: Snapshot) -> dict[LoopKey, ServedLoop]:
    """Every loop; those that have not changed are taken over as they are."""
    loops: dict[LoopKey, ServedLoop] = {}
    for key, revision in repository.read_loop_revisions(session).items():
        known = old.loops.get(key)
        if known is not None and _revision(known.loop) == revision:
            loops[key] = known
        elif (loop := read_loop(session, *key)) is not None:
            listed = [Action(action.id, action.features) for action in loop.settings.actions]
            actions = tuple(replace(action, logged=logged_action(action)) for action in listed)
            loops[key] = ServedLoop(loop, actions)
    return loops


def _revision(loop: Loop) -> tuple[int, int, str | None]:
    """As `read_loop_revisions` tells it."""
    return loop.settings_revision, loop.created_at, loop.frozen_to
