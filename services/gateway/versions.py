"""Model versions as folders: brought out, taken in; and those collected that nothing needs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from services.gateway.fitting import Fitting
from services.gateway.problems import Problem, ProblemType
from services.gateway.repository import add_audit
from shared.db.engine import read_session, write_session
from shared.domain import Clock, ModelRef, ModelVersion
from shared.loop_settings import Loop
from shared.registry.artifacts import ArtifactStore
from shared.registry.collection import Collected, Collector
from shared.registry.evaluations import evaluations_of_version
from shared.registry.manifest import Manifest, Origin, Part
from shared.registry.model_artifacts import hold_artifacts, store_parts
from shared.registry.model_card import model_card
from shared.registry.version_files import VersionFiles, VersionFilesError, checked, read_tar, version_folder
from shared.registry.versions import add_version, next_version, read_version, read_versions, restore_version
from shared.security import ApiKey

# Of a loop, that a card may tell of.
MOST_EVALUATIONS: Final = 200


@dataclass(frozen=True, slots=True)
class Versions:
    """Every call blocks on the database and the artifact store."""

    engine: Engine
    artifacts: ArtifactStore
    fitting: Fitting
    collector: Collector
    clock: Clock

    def files(self, ref: ModelRef) -> tuple[dict[str, bytes], Manifest]:
        """The files of a version's folder, each part verified by its hash.

        Raises:
            Problem: there is none of this number, or its weights were deleted.
            ArtifactError: a part is gone, or not what it was.
        """
        with read_session(self.engine) as session:
            version = read_version(session, ref)
            evaluations = evaluations_of_version(session, ref, MOST_EVALUATIONS)
        if version is None:
            raise Problem(ProblemType.UNKNOWN_MODEL_VERSION, "The loop has no version of this number.", "version")
        if version.status == "collected":
            detail = "They were deleted, since nothing needed them."
            raise Problem(ProblemType.VERSION_COLLECTED, detail, "version")
        raw = self.artifacts.get(version.manifest_sha256)
        manifest = Manifest.model_validate_json(raw)
        parts = {part: self.artifacts.get(sha256) for part, sha256 in manifest.parts.items()}
        sizes = {part: len(data) for part, data in parts.items()}
        return version_folder(raw, parts, model_card(manifest, version.manifest_sha256, sizes, evaluations)), manifest

    def take(self, caller: ApiKey, loop: Loop, archive: IO[bytes], most_bytes: int) -> tuple[ModelVersion, bool]:
        """The version that a tar holds, registered with its lineage, and whether that is new. It is registered whole or
        not at all, and once: taking it again finds it, and gives it its weights back where they had been deleted.

        Raises:
            Problem: it cannot be read, is damaged, or does not fit the loop; nothing was stored.
        """
        try:
            files = checked(read_tar(archive, most_bytes))
        except VersionFilesError as error:
            raise Problem(ProblemType.NOT_A_VERSION, f"Nothing was stored: {error}.") from None
        with read_session(self.engine) as session:
            self.fitting.refuse_misfit(session, loop, files.manifest, None)
            alike = self._of_same_architecture(session, loop, files.manifest)
        shapes = {part: _shapes(part, data) for part, data in files.parts.items()}
        if alike is not None:
            for part, sha256 in alike.parts.items():
                _hold_shapes(part, shapes[part], _shapes(part, self.artifacts.get(sha256)))
        parts = store_parts(self.engine, self.artifacts, files.parts, self.clock())
        return self._register(caller, loop, files, parts)

    def collect(self, caller: ApiKey, loop: Loop, dry_run: bool) -> Collected:
        """Has versions that nothing needs give up their weights, and deletes what has been unneeded for long enough."""
        now = self.clock()
        collected = self.collector.collect(loop.tenant, loop.loop_id, now, dry_run=dry_run)
        if not dry_run:
            self.collector.delete_files(now)
            with write_session(self.engine) as session:
                add_audit(session, caller.tenant, caller.key_id, "collect", f"loops/{loop.loop_id}/models", now)
        return collected

    def _of_same_architecture(self, session: Session, loop: Loop, manifest: Manifest) -> Manifest | None:
        """The newest version of the loop whose tensors must be like these."""
        for version in read_versions(session, loop.tenant, loop.loop_id):
            if version.status != "collected":
                known = Manifest.model_validate_json(self.artifacts.get(version.manifest_sha256))
                if known.architecture == manifest.architecture:
                    return known
        return None

    def _register(
        self, caller: ApiKey, loop: Loop, files: VersionFiles, parts: Mapping[Part, str]
    ) -> tuple[ModelVersion, bool]:
        now = self.clock()
        with write_session(self.engine) as session:
            hold_artifacts(session, self.artifacts, parts.values(), now)
            number = next_version(session, loop.tenant, loop.loop_id)
            known = _known(session, loop, files)
            if known is not None:
                restored = restore_version(session, known.ref)
                return replace(known, status=restored), False
            manifest = _manifest_here(loop, files, number, now)
            version = ModelVersion(
                tenant=loop.tenant,
                loop_id=loop.loop_id,
                version=number,
                status="ready",
                parent=None,
                manifest_sha256=self.artifacts.put(manifest.model_dump_json().encode()),
                covers_sequence=manifest.covers_sequence,
                settings_revision=manifest.settings_revision,
                training_run_id=manifest.training_run_id,
                metrics=manifest.metrics,
                created_at=now,
            )
            add_version(session, version)
            subject = f"loops/{loop.loop_id}/models/{number}"
            add_audit(session, caller.tenant, caller.key_id, "import", subject, now)
        return version, True


def _known(session: Session, loop: Loop, files: VersionFiles) -> ModelVersion | None:
    """The version itself, where the loop made it, or an earlier import of it."""
    run = _run_of(loop, files)
    for version in read_versions(session, loop.tenant, loop.loop_id):
        if version.manifest_sha256 == files.manifest_sha256 or version.training_run_id == run:
            return version
    return None


def _run_of(loop: Loop, files: VersionFiles) -> str:
    """In place of a training run: what made the version here. The same version is imported once."""
    return f"import {loop.tenant}/{loop.loop_id} {files.manifest_sha256}"


def _manifest_here(loop: Loop, files: VersionFiles, number: int, now: int) -> Manifest:
    """Its head has learned none of this loop's experiences: once an alias names it, it is given all of them."""
    there = files.manifest
    origin = Origin(
        loop_id=there.loop_id,
        version=there.version,
        parent=there.parent,
        training_run_id=there.training_run_id,
        covers_sequence=there.covers_sequence,
        settings_revision=there.settings_revision,
        manifest_sha256=files.manifest_sha256,
    )
    return there.model_copy(
        update={
            "tenant": loop.tenant,
            "loop_id": loop.loop_id,
            "version": number,
            "parent": None,
            "training_run_id": _run_of(loop, files),
            "created_at": now,
            "settings_revision": loop.settings_revision,
            "covers_sequence": 0,
            "imported_from": origin,
        }
    )


Shapes = dict[str, tuple[tuple[int, ...], str]]


def _shapes(part: Part, data: bytes) -> Shapes:
    """Shape and type of each tensor.

    Raises:
        Problem: the bytes are no safetensors, or hold a number that is not finite.
    """
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError):
        raise Problem(ProblemType.NOT_A_VERSION, f"{part}.safetensors is not a safetensors file.") from None
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise Problem(ProblemType.NOT_A_VERSION, f"{part}.safetensors: {name} holds a number that is not finite.")
    return {name: (tensor.shape, str(tensor.dtype)) for name, tensor in tensors.items()}


def _hold_shapes(part: Part, found: Shapes, expected: Shapes) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            detail = (
                f"{part}.safetensors: {name} is {found.get(name)}, where versions like it have {expected.get(name)}."
            )
            raise Problem(ProblemType.NOT_A_VERSION, detail)
