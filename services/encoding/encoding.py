"""Contexts and actions to embeddings, under one model version.

Shapes: B contexts, M modalities, N actions, D embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.domain import Action, Context
from shared.networks.batches import collate, collate_bags
from shared.networks.media_decoder import Decode
from shared.networks.multimodal_encoder import MultimodalEncoder
from shared.networks.parts import build_encoder, load_module
from shared.networks.placement import ON_CPU, Placement
from shared.networks.preparation import Fetch, Refusal, Trunk, prepare
from shared.networks.preprocessing import action_features
from shared.networks.trunks import Trunks
from shared.registry.loading import Loaded
from shared.registry.manifest import Architecture


@dataclass(frozen=True, slots=True)
class Encodings:
    """embeddings float32 [B, M, D], present bool [B, M], actions float32 [N, D] or None, and what was refused."""

    embeddings: Tensor
    present: Tensor
    actions: Tensor | None
    refusals: Sequence[Refusal]


@dataclass(frozen=True, slots=True)
class Encoders:
    """Of one version: its own, by modality the pretrained ones that they read through, and where they compute."""

    own: MultimodalEncoder
    trunks: Mapping[str, Trunk]
    placement: Placement = ON_CPU


def load_encoder(
    architecture: Architecture, data: bytes, trunks: Trunks | None = None, placement: Placement = ON_CPU
) -> Encoders:
    """The encoders of a version from their file of weights, and the pretrained ones that it was made with.

    Raises:
        TrunkError: a pretrained one is not here, or not as it was.
        WeightsError: the version's own are not servable.
    """
    own = load_module(build_encoder(architecture), data).to(placement.device)
    return Encoders(own, (trunks or Trunks(placement=placement)).of(architecture), placement)


def encode(
    version: Loaded[Encoders],
    contexts: Sequence[Context],
    actions: Sequence[Action],
    decode: Decode,
    fetch: Fetch,
) -> Encodings:
    """Embeddings of contexts and candidate actions; a context with a refused value keeps its other modalities.

    Raises:
        ValueError: actions where the version scores them by id alone, or one that it cannot read.
    """
    architecture, encoder, placement = version.manifest.architecture, version.part.own, version.part.placement
    if actions and not architecture.action_features:
        raise ValueError("the model version scores actions by id alone")
    rows, refusals = prepare(contexts, architecture.modalities, decode, fetch, version.part.trunks)
    batch = collate(rows, list(architecture.modalities))
    with torch.inference_mode(), placement.arithmetic():
        embeddings_BMD, present_BM = map(placement.fetch, encoder(batch.to(placement.device)))
        actions_ND = None
        if actions:
            bags = collate_bags([action_features(action) for action in actions])
            actions_ND = placement.fetch(encoder.encode_actions(bags.to(placement.device)))
    return Encodings(embeddings_BMD, present_BM, actions_ND, refusals)
