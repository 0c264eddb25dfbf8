"""All encoders of one model version: the part that the encoding service serves.

Shapes: B rows, M modalities, N actions, D embedding.
"""

import torch
from torch import Tensor, nn

from shared.networks.adapter import Adapter
from shared.networks.batches import Bags, Batch
from shared.networks.encoders import BagEncoder, build_modality_encoder
from shared.registry.manifest import Architecture


class MultimodalEncoder(nn.Module):
    """An encoder a modality, in the architecture's order, and one for candidate actions where they are embedded."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self._width = architecture.embedding_width
        # By position: a modality's name may be one that a module cannot have.
        self.modalities = nn.ModuleList(
            build_modality_encoder(modality, self._width) for modality in architecture.modalities.values()
        )
        self.actions = BagEncoder(self._width) if architecture.action_features else None
        rank = architecture.adapter_rank
        self.adapters = nn.ModuleList(Adapter(self._width, rank) if rank else nn.Identity() for _ in self.modalities)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embeddings [B, M, D], zeros where a modality is missing, and bool [B, M], True where it is present."""
        parameter = next(self.parameters())
        columns, present = [], []
        for encoder, adapter, modality in zip(self.modalities, self.adapters, batch.modalities, strict=True):
            column_BD = parameter.new_zeros(batch.size, self._width)
            present_B = torch.zeros(batch.size, dtype=torch.bool, device=parameter.device)
            if modality is not None:
                column_BD = column_BD.index_put((modality.rows,), adapter(encoder(modality.inputs)))
                present_B = present_B.index_fill(0, modality.rows, True)
            columns.append(column_BD)
            present.append(present_B)
        return torch.stack(columns, dim=1), torch.stack(present, dim=1)

    def encode_actions(self, bags: Bags) -> Tensor:
        """Embeddings of actions [N, D].

        Raises:
            ValueError: the version scores actions by their position alone.
        """
        if self.actions is None:
            raise ValueError("this model version has no embeddings of actions")
        embedded_ND: Tensor = self.actions(bags)
        return embedded_ND
