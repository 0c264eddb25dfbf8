"""Rows of every kind, and architectures that read them."""

import numpy as np
import pytest

from shared.loop_settings import ActionSettings, FusionSettings, LoopSettings, ModalitySettings
from shared.networks.preparation import Row
from shared.networks.preprocessing import embedding_features, table_features, text_features
from shared.registry.manifest import Architecture

MODALITIES = {
    "photo": ModalitySettings(kind="image"),
    "voice": ModalitySettings(kind="audio"),
    # A name that a torch module could not have.
    "user.type": ModalitySettings(kind="tabular"),
    "title": ModalitySettings(kind="text"),
    "vector": ModalitySettings(kind="embedding", dimension=6),
    "clip": ModalitySettings(kind="video"),
}


def architecture_of(strategy: str = "attention", *, features: bool = False) -> Architecture:
    """Three actions, every kind of modality."""
    actions = [ActionSettings(id=name, features={"price": 1} if features else None) for name in ("a", "b", "c")]
    settings = LoopSettings(
        modalities=MODALITIES, actions=actions, fusion=FusionSettings.model_validate({"strategy": strategy})
    )
    return Architecture.of(settings)


@pytest.fixture
def rows() -> list[Row]:
    """Eight rows that have every modality."""
    rng = np.random.default_rng(0)
    return [
        {
            "photo": rng.integers(0, 256, (3, 32, 32), dtype=np.uint8),
            "voice": rng.normal(size=(64, 32)).astype(np.float32),
            "user.type": table_features({"age": index, "city": f"city-{index}"}),
            "title": text_features(f"title {index}"),
            "vector": embedding_features(rng.normal(size=6).astype(np.float32), 6),
            "clip": rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8),
        }
        for index in range(8)
    ]
