"""All encoders of one model version: the part that the encoding service serves.

Shapes: B rows, M modalities, N actions, E encoded: an embedding, and behind it a view.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.networks.adapter import Adapter
from shared.networks.batches import Bags, Batch
from shared.networks.encoders import BagEncoder, build_modality_encoder
from shared.networks.preprocessing import ID_BUCKETS
from shared.networks.views import View, build_action_view, build_trunk_view, build_view, with_length
from shared.registry.manifest import Architecture


class MultimodalEncoder(nn.Module):
    """An encoder and a view a modality, in the architecture's order, and both for actions that are encoded."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self._width = architecture.encoded_width
        self._identity_share = architecture.identity_share
        # By position: a modality's name may be one that a module cannot have.
        self.modalities = nn.ModuleList(
            build_modality_encoder(modality, architecture.embedding_width) for modality in architecture.read.values()
        )
        self.views = nn.ModuleList(_view(architecture, name) for name in architecture.modalities)
        self.actions = BagEncoder(architecture.embedding_width) if architecture.action_features else None
        self.action_view = build_action_view(architecture.view_width) if architecture.action_features else None
        width, rank = architecture.embedding_width, architecture.adapter_rank
        self.adapters = nn.ModuleList(Adapter(width, rank) if rank else nn.Identity() for _ in self.modalities)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Encoded [B, M, E], zeros where a modality is missing, and bool [B, M], True where it is present."""
        parameter = next(self.parameters())
        columns, present = [], []
        of_each = zip(self.modalities, self.adapters, self.views, batch.modalities, strict=True)
        for encoder, adapter, view, modality in of_each:
            column_BE = parameter.new_zeros(batch.size, self._width)
            present_B = torch.zeros(batch.size, dtype=torch.bool, device=parameter.device)
            if modality is not None:
                encoded_NC = torch.cat([adapter(encoder(modality.inputs)), view(modality.inputs)], dim=1)
                # A view may have fewer numbers than the widest; under autocast they have fewer bits.
                encoded_NE = functional.pad(encoded_NC, (0, self._width - encoded_NC.shape[1])).to(column_BE)
                column_BE = column_BE.index_put((modality.rows,), encoded_NE)
                present_B = present_B.index_fill(0, modality.rows, True)
            columns.append(column_BE)
            present.append(present_B)
        return torch.stack(columns, dim=1), torch.stack(present, dim=1)

    def encode_actions(self, bags: Bags) -> Tensor:
        """Encoded actions [N, E].

        Raises:
            ValueError: the version scores actions by their position alone.
        """
        if self.actions is None or self.action_view is None:
            raise ValueError("this model version has no embeddings of actions")
        share = self._identity_share
        view_NV = self.action_view(bags) if share is None else self._action_view(self.action_view, bags, share)
        return torch.cat([self.actions(bags), view_NV], dim=1)

    def _action_view(self, view: View, bags: Bags, share: float) -> Tensor:
        """[N, V]: of its length, a share of the square is the identity's, all of it where there are no features."""
        identity_NV, features_NV = (view(part) for part in bags.split(ID_BUCKETS))
        return with_length(math.sqrt(share) * identity_NV + math.sqrt(1.0 - share) * features_NV)

    def fit_views(self, batch: Batch) -> None:
        """Projects each modality on the principal components of these rows from now on (equation 11)."""
        for view, modality in zip(self.views, batch.modalities, strict=True):
            if modality is not None and isinstance(view, View):
                view.fit(modality.inputs)


def _view(architecture: Architecture, name: str) -> View:
    modality, trunk = architecture.modalities[name], architecture.trunks.get(name)
    if trunk is None:
        return build_view(modality, architecture.view_width)
    width = min(architecture.view_width, trunk.dimension, modality.components or trunk.dimension)
    return build_trunk_view(trunk.dimension, width)
