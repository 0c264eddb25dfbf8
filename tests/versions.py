"""Model versions with real weights, made and registered as the trainer does it."""

import torch
from sqlalchemy import Engine

from shared.db.engine import write_session
from shared.domain import ModelRef, ModelVersion
from shared.loop_settings import LoopSettings
from shared.networks.parts import (
    build_encoder,
    build_fusion,
    build_q_network,
    empty_statistics,
    save_module,
    save_policy,
)
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.manifest import Architecture, Manifest, Part
from shared.registry.versions import add_version, move_alias

TENANT, LOOP = "default", "shoes"


def fetch_nothing(sha256: str) -> bytes:
    """Stands for a store that has no artifact."""
    raise ArtifactError(sha256)


def parts_of(architecture: Architecture, seed: int, *, experienced: bool) -> dict[Part, bytes]:
    """Files of weights; the head of an experienced version has seen that later actions are better."""
    q_network, statistics = build_q_network(architecture, seed), empty_statistics(architecture)
    if experienced:
        width = architecture.state_width + (architecture.encoded_width if architecture.action_features else 0)
        inputs = torch.randn(300, width, generator=torch.Generator().manual_seed(seed))
        features = q_network.train()(inputs).features.detach()
        slots = torch.arange(300) % len(statistics.count)
        statistics = statistics.add(features, slots, slots / max(1, len(statistics.count) - 1), torch.ones(300))
    return {
        "encoding": save_module(build_encoder(architecture, seed)),
        "fusion": save_module(build_fusion(architecture, seed)),
        "policy": save_policy(q_network, statistics),
    }


def manifest_of(settings: LoopSettings, ref: ModelRef, parts: dict[Part, str], covers_sequence: int = 0) -> Manifest:
    """The manifest of a version whose parts have these hashes."""
    return Manifest(
        tenant=ref.tenant,
        loop_id=ref.loop_id,
        version=ref.version,
        parent=ref.version - 1 or None,
        training_run_id=f"{ref.loop_id}-{ref.version}",
        created_at=0,
        code_version="test",
        settings=settings,
        settings_revision=1,
        architecture=Architecture.of(settings),
        parts=parts,
        covers_sequence=covers_sequence,
        metrics={},
    )


def register(
    engine: Engine,
    store: ArtifactStore,
    settings: LoopSettings,
    version: int,
    *,
    loop_id: str = LOOP,
    seed: int | None = None,
    experienced: bool = False,
    champion: bool = True,
) -> Manifest:
    """Writes a version's parts, manifest and row, and makes it the champion."""
    ref = ModelRef(TENANT, loop_id, version)
    files = parts_of(Architecture.of(settings), version if seed is None else seed, experienced=experienced)
    parts = {part: store.put(data) for part, data in files.items()}
    manifest = manifest_of(settings, ref, parts, covers_sequence=300 if experienced else 0)
    row = ModelVersion(
        tenant=ref.tenant,
        loop_id=ref.loop_id,
        version=ref.version,
        status="ready",
        parent=manifest.parent,
        manifest_sha256=store.put(manifest.model_dump_json().encode()),
        covers_sequence=manifest.covers_sequence,
        settings_revision=1,
        training_run_id=manifest.training_run_id,
        metrics={},
        created_at=0,
    )
    with write_session(engine) as session:
        add_version(session, row)
        if champion:
            move_alias(session, ref, "champion", 0)
    return manifest
