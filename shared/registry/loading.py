"""The model versions that a service has in memory: loaded ahead of use, verified, dropped when nothing names them."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import read_session
from shared.domain import ModelRef
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Manifest, Part
from shared.registry.versions import wanted_versions

logger: Final = structlog.get_logger(__name__)
T = TypeVar("T")


class ModelNotLoadedError(LookupError):
    """The version is not in memory here: not yet, or not any more."""


class LoadedVersions(Generic[T]):
    """One part (encoding, fusion or policy) of every version that the registry wants served."""

    def __init__(self, engine: Engine, store: ArtifactStore, part: Part, build: Callable[[Manifest, bytes], T]) -> None:
        """`build` makes what serves from the manifest and the part's bytes; its ValueError means: not servable."""
        self._engine = engine
        self._store = store
        self._part: Part = part
        self._build = build
        self._loaded: dict[ModelRef, T] = {}
        self._refused: set[tuple[ModelRef, str]] = set()

    @property
    def refs(self) -> list[ModelRef]:
        """What can be served now."""
        return list(self._loaded)

    def get(self, ref: ModelRef) -> T:
        """What serves a version.

        Raises:
            ModelNotLoadedError: it is not here.
        """
        loaded = self._loaded.get(ref)
        if loaded is None:
            raise ModelNotLoadedError(f"version {ref.version} of loop {ref.loop_id} is not loaded")
        return loaded

    def refresh(self) -> None:
        """Loads what is wanted and drops what is not; keeps everything while the database is away. Blocks."""
        try:
            with read_session(self._engine) as session:
                wanted = wanted_versions(session)
        except SQLAlchemyError as error:
            logger.warning("registry_away", error=type(error).__name__)
            return
        loaded = {ref: part for ref, part in self._loaded.items() if ref in wanted}
        for ref, manifest_sha256 in wanted.items():
            if ref not in loaded and (part := self._load(ref, manifest_sha256)) is not None:
                loaded[ref] = part
        # Replaced, never changed: calls under way read the old one.
        self._loaded = loaded

    def _load(self, ref: ModelRef, manifest_sha256: str) -> T | None:
        try:
            part = self._verified(ref, manifest_sha256)
        except (ArtifactError, ValueError):
            # It may be there at the next look (a volume that lags behind), so it is tried again; it is told once.
            if (ref, manifest_sha256) not in self._refused:
                self._refused.add((ref, manifest_sha256))
                logger.exception("version_not_servable", part=self._part, loop_id=ref.loop_id, version=ref.version)
            return None
        logger.info("version_loaded", part=self._part, loop_id=ref.loop_id, version=ref.version)
        return part

    def _verified(self, ref: ModelRef, manifest_sha256: str) -> T:
        manifest = Manifest.model_validate_json(self._store.get(manifest_sha256))
        if ModelRef(manifest.tenant, manifest.loop_id, manifest.version) != ref:
            raise ArtifactError(f"manifest {manifest_sha256} is of another version")
        return self._build(manifest, self._store.get(manifest.parts[self._part]))
