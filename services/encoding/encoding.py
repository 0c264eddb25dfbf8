"""Contexts and actions to embeddings, under one model version.

Shapes: B contexts, M modalities, N actions, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.domain import Action, Context
from shared.networks.batches import collate, collate_bags
from shared.networks.media_decoder import Decode
from shared.networks.multimodal_encoder import MultimodalEncoder
from shared.networks.parts import build_encoder, load_module
from shared.networks.preparation import Fetch, Refusal, prepare
from shared.networks.preprocessing import action_features
from shared.registry.manifest import Architecture, Manifest


@dataclass(frozen=True, slots=True)
class VersionEncoder:
    """The encoders of one model version, with the architecture that says what they read."""

    architecture: Architecture
    encoder: MultimodalEncoder


@dataclass(frozen=True, slots=True)
class Encodings:
    """embeddings float32 [B, M, D], present bool [B, M], actions float32 [N, D] or None, and what was refused."""

    embeddings: Tensor
    present: Tensor
    actions: Tensor | None
    refusals: Sequence[Refusal]


def load_encoder(manifest: Manifest, data: bytes) -> VersionEncoder:
    """The encoders of a version from their file of weights."""
    encoder = load_module(build_encoder(manifest.architecture), data)
    return VersionEncoder(manifest.architecture, encoder)


def encode(
    version: VersionEncoder, contexts: Sequence[Context], actions: Sequence[Action], decode: Decode, fetch: Fetch
) -> Encodings:
    """Embeddings of contexts and candidate actions; a context with a refused value keeps its other modalities.

    Raises:
        ValueError: actions where the version scores them by id alone, or none where it does not.
    """
    if bool(actions) != version.architecture.action_features:
        raise ValueError("actions are embedded exactly where the model version reads their features")
    modalities = version.architecture.modalities
    rows, refusals = prepare(contexts, modalities, decode, fetch)
    with torch.inference_mode():
        embeddings_BMD, present_BM = version.encoder(collate(rows, list(modalities)))
        actions_ND = None
        if actions:
            actions_ND = version.encoder.encode_actions(collate_bags([action_features(action) for action in actions]))
    return Encodings(embeddings_BMD, present_BM, actions_ND, refusals)
