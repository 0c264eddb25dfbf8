"""The model versions that a service has in memory: loaded ahead of use, verified, dropped when nothing names them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import read_session
from shared.domain import ModelRef
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Architecture, Manifest, Part
from shared.registry.versions import wanted_versions

logger: Final = structlog.get_logger(__name__)
T = TypeVar("T")


class ModelNotLoadedError(LookupError):
    """The version is not in memory here: not yet, or not any more."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A model version in memory: its manifest, and what serves its part."""

    manifest: Manifest
    part: T


class LoadedVersions(Generic[T]):
    """One part (encoding, fusion or policy) of every version that the registry wants served."""

    def __init__(
        self, engine: Engine, store: ArtifactStore, part: Part, build: Callable[[Architecture, bytes], T]
    ) -> None:
        """`build` makes what serves from an architecture and the part's bytes; whatever it raises: not servable."""
        self._engine = engine
        self._store = store
        self._part: Part = part
        self._build = build
        # With the manifest's SHA-256: a loop that is deleted and made again numbers its versions from 1 again.
        self._loaded: dict[ModelRef, tuple[str, Loaded[T]]] = {}
        self._refused: set[tuple[ModelRef, str]] = set()

    @property
    def versions(self) -> dict[ModelRef, Loaded[T]]:
        """What can be served now."""
        return {ref: loaded for ref, (_, loaded) in self._loaded.items()}

    def get(self, ref: ModelRef) -> Loaded[T]:
        """What serves a version.

        Raises:
            ModelNotLoadedError: it is not here.
        """
        entry = self._loaded.get(ref)
        if entry is None:
            raise ModelNotLoadedError(f"version {ref.version} of loop {ref.loop_id} is not loaded")
        return entry[1]

    def refresh(self) -> None:
        """Loads what is wanted and drops what is not; keeps everything while the database is away. Blocks."""
        try:
            with read_session(self._engine) as session:
                wanted = wanted_versions(session)
        except SQLAlchemyError as error:
            logger.warning("registry_away", error=type(error).__name__)
            return
        # Replaced, never changed: calls under way read the old one.
        self._loaded = {ref: entry for ref, entry in self._loaded.items() if wanted.get(ref) == entry[0]}
        for ref, manifest_sha256 in wanted.items():
            if ref not in self._loaded and (loaded := self._load(ref, manifest_sha256)) is not None:
                self._loaded = {**self._loaded, ref: (manifest_sha256, loaded)}

    def _load(self, ref: ModelRef, manifest_sha256: str) -> Loaded[T] | None:
        try:
            loaded = self._verified(ref, manifest_sha256)
        except Exception:
            # One bad version must not keep the others from being served. It is tried again at every look, since a
            # volume may lag behind, and told once.
            if (ref, manifest_sha256) not in self._refused:
                self._refused.add((ref, manifest_sha256))
                logger.exception("version_not_servable", part=self._part, loop_id=ref.loop_id, version=ref.version)
            return None
        logger.info("version_loaded", part=self._part, loop_id=ref.loop_id, version=ref.version)
        return loaded

    def _verified(self, ref: ModelRef, manifest_sha256: str) -> Loaded[T]:
        manifest = Manifest.model_validate_json(self._store.get(manifest_sha256))
        if ModelRef(manifest.tenant, manifest.loop_id, manifest.version) != ref:
            raise ArtifactError(f"manifest {manifest_sha256} is of another version")
        sha256 = manifest.parts[self._part]
        for _, other in self._loaded.values():
            # Versions often share a part; it is in memory once.
            if other.manifest.parts[self._part] == sha256 and other.manifest.architecture == manifest.architecture:
                return Loaded(manifest, other.part)
        return Loaded(manifest, self._build(manifest.architecture, self._store.get(sha256)))
