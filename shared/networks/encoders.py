"""One encoder a kind of modality: features to embeddings of one width and one scale, small and trained from scratch.

Shapes: N rows, D embedding, T stretches of time or frames, F frequency bands, H and W sides of a picture, V of a frame.
"""

from typing import Final

import torch
from torch import Tensor, nn

from shared.loop_settings import ModalitySettings
from shared.networks.batches import Bags
from shared.networks.media import BANDS, FRAMES, SIDE
from shared.networks.preprocessing import BUCKETS
from shared.networks.video import CLIP_FRAMES

BAG_WIDTH: Final = 32
HIDDEN_WIDTH: Final = 128
FRAME_WIDTH: Final = 64
CONVOLVED: Final = 64 * (SIDE // 8) ** 2


class BagEncoder(nn.Module):
    """Texts, tables and actions: a weighted sum of hashed embeddings, then a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.buckets = nn.EmbeddingBag(BUCKETS, BAG_WIDTH, mode="sum")
        self.perceptron = nn.Sequential(nn.LayerNorm(BAG_WIDTH), *_perceptron(BAG_WIDTH, width))

    def forward(self, bags: Bags) -> Tensor:
        """[N, D]."""
        summed_NW = self.buckets(bags.buckets, bags.offsets, per_sample_weights=bags.weights)
        embedded_ND: Tensor = self.perceptron(summed_NW)
        return embedded_ND


class ImageEncoder(nn.Module):
    """Pictures: strided convolutions, then a perceptron that still tells places apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_picture_convolutions(),
            *_perceptron(CONVOLVED, width),
        )

    def forward(self, pixels_N3HW: Tensor) -> Tensor:
        """uint8 [N, 3, 32, 32] to [N, D]."""
        embedded_ND: Tensor = self.layers(pixels_N3HW.float() / 127.5 - 1.0)
        return embedded_ND


class AudioEncoder(nn.Module):
    """Sounds: strided convolutions over time and frequency of the log-mel energies, then a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=(4, 2), padding=2),
            *_two_convolutions(),
            *_perceptron(64 * (FRAMES // 16) * (BANDS // 8), width),
        )

    def forward(self, energies_NTF: Tensor) -> Tensor:
        """float32 [N, 64, 32] to [N, D]."""
        embedded_ND: Tensor = self.layers(energies_NTF[:, None])
        return embedded_ND


class VideoEncoder(nn.Module):
    """Clips: a picture's convolutions on every frame, a transformer over time that knows their order, a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frames = nn.Sequential(*_picture_convolutions(), nn.Linear(CONVOLVED, FRAME_WIDTH))
        # Small beside what frames show, which else is long in coming through.
        self.positions_TV = nn.Parameter(0.1 * torch.randn(CLIP_FRAMES, FRAME_WIDTH))
        self.transformer = nn.TransformerEncoderLayer(
            FRAME_WIDTH, 4, dim_feedforward=2 * FRAME_WIDTH, dropout=0.0, activation="gelu", batch_first=True
        )
        self.perceptron = nn.Sequential(nn.Flatten(), *_perceptron(CLIP_FRAMES * FRAME_WIDTH, width))

    def forward(self, pixels_NT3HW: Tensor) -> Tensor:
        """uint8 [N, 8, 3, 32, 32] to [N, D]."""
        scaled_NT3HW = pixels_NT3HW.float() / 127.5 - 1.0
        frames_NTV = self.frames(scaled_NT3HW.flatten(0, 1)).unflatten(0, scaled_NT3HW.shape[:2])
        embedded_ND: Tensor = self.perceptron(self.transformer(frames_NTV + self.positions_TV))
        return embedded_ND


class EmbeddingEncoder(nn.Module):
    """Ready-made embeddings, normalised beforehand, with their magnitude as one number more."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.perceptron = nn.Sequential(*_perceptron(dimension + 1, width))

    def forward(self, embeddings_NK: Tensor) -> Tensor:
        """float32 [N, dimension + 1] to [N, D]."""
        embedded_ND: Tensor = self.perceptron(embeddings_NK)
        return embedded_ND


def build_modality_encoder(modality: ModalitySettings, width: int) -> nn.Module:
    """The encoder of a modality's kind, with random weights."""
    match modality.kind:
        case "text" | "tabular":
            return BagEncoder(width)
        case "image":
            return ImageEncoder(width)
        case "audio":
            return AudioEncoder(width)
        case "video":
            return VideoEncoder(width)
        case "embedding" if modality.dimension is not None:
            return EmbeddingEncoder(modality.dimension, width)
    raise ValueError(f"no encoder for {modality}")


def _picture_convolutions() -> list[nn.Module]:
    return [nn.Conv2d(3, 16, 3, stride=2, padding=1), *_two_convolutions()]


def _two_convolutions() -> list[nn.Module]:
    return [
        nn.GELU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
    ]


def _perceptron(inputs: int, width: int) -> list[nn.Module]:
    """One hidden layer; normalised at the end, so that all modalities come in one scale."""
    return [nn.Linear(inputs, HIDDEN_WIDTH), nn.GELU(), nn.Linear(HIDDEN_WIDTH, width), nn.LayerNorm(width)]
