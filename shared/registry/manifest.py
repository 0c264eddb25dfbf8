"""What a model version is made of: its architecture, the hashes of its weights, and where it comes from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.loop_settings import FusionSettings, LoopSettings, ModalitySettings

Part = Literal["encoding", "fusion", "policy"]


class Architecture(BaseModel):
    """All that builds a version's networks again; widths count numbers in a vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: dict[str, ModalitySettings]
    fusion: FusionSettings
    # Actions that have weights of their own, in order; other ids are scored by what all actions share.
    action_ids: tuple[str, ...]
    # Candidates are scored over their features (and identity) by one head that all share.
    action_features: bool
    # Of the adapters behind the modalities' encoders; 0 where there are none.
    adapter_rank: int = 0
    embedding_width: int = 64
    state_width: int = 64
    hidden_width: int = 128
    feature_width: int = 64

    @classmethod
    def of(cls, settings: LoopSettings) -> "Architecture":
        """The architecture that a loop's settings ask for."""
        listed = settings.actions
        return cls(
            modalities=settings.modalities,
            fusion=settings.fusion,
            action_ids=tuple(action.id for action in listed),
            action_features=not listed or any(action.features is not None for action in listed),
            adapter_rank=settings.learning.adapter_rank if settings.learning.tune == "adapters" else 0,
        )


class Manifest(BaseModel):
    """The immutable description of one model version; its own SHA-256 stands in the version's row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    tenant: str
    loop_id: str
    version: int
    parent: int | None
    training_run_id: str
    created_at: int
    code_version: str
    settings: LoopSettings
    settings_revision: int
    architecture: Architecture
    # safetensors files in the artifact store
    parts: dict[Part, str]
    # The head statistics cover the experiences up to this sequence.
    covers_sequence: int
    metrics: dict[str, float | str | None]
