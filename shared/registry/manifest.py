"""What a model version is made of: its architecture, the hashes of its weights, and where it comes from."""

import math
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from shared.loop_settings import FusionSettings, LoopSettings, ModalitySettings

Part = Literal["encoding", "fusion", "policy"]

FEATURE_WIDTH: Final = 64
LEAST_VIEW_WIDTH: Final = 4
VIEW_WIDTH: Final = 60
# Of all modalities together.
VIEWS_WIDTH: Final = 144
# In the matrices of all actions: 32 MB.
HEAD_NUMBERS: Final = 4_000_000
# Numbers of a sketch of a context's views times an action's.
INTERACTIONS: Final = 256
# Enough for what an action is worth beside its features to be learned within a few experiences, and so little that one
# nobody has seen is expected to be worth what its features say.
IDENTITY_SHARE: Final = 0.1


class TrunkIdentity(BaseModel):
    """A pretrained encoder that a version reads through: the SHA-256 of its files, and how many numbers it gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    dimension: int


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
    # The Q-network has a layer whose softmax is the policy.
    policy_logits: bool = False
    # Of what is learned: an embedding, what fusion makes of them, and the Q-network's last hidden layer.
    embedding_width: int = 64
    fused_width: int = 64
    hidden_width: int = 128
    feature_width: int = FEATURE_WIDTH
    # Of the compressed view of each modality, and of an action's.
    view_width: int
    # Of the square of the length of an action's view: what its identity takes of one that has features. None, in
    # versions of old: as many parts as the identity has buckets among all.
    identity_share: float | None = None
    # Of the modalities with a pretrained encoder. Its weights never change, and are in no version's files.
    trunks: dict[str, TrunkIdentity] = {}

    @classmethod
    def of(cls, settings: LoopSettings, trunks: Mapping[str, TrunkIdentity] | None = None) -> "Architecture":
        """The architecture that a loop's settings ask for; `trunks` by modality, of all that name an encoder."""
        listed = settings.actions
        return cls(
            modalities=settings.modalities,
            fusion=settings.fusion,
            action_ids=tuple(action.id for action in listed),
            action_features=not listed or any(action.features is not None for action in listed),
            policy_logits=settings.learning.objective == "reward_guided",
            adapter_rank=settings.learning.adapter_rank if settings.learning.tune == "adapters" else 0,
            identity_share=IDENTITY_SHARE,
            view_width=_view_width(len(settings.modalities), len(listed)),
            trunks=dict(trunks or {}),
        )

    @property
    def read(self) -> dict[str, ModalitySettings]:
        """The modalities as the version's own networks read them: what a trunk gives is a ready-made embedding."""
        return self.modalities | {
            name: ModalitySettings(
                kind="embedding", dimension=trunk.dimension, components=self.modalities[name].components
            )
            for name, trunk in self.trunks.items()
        }

    @property
    def encoded_width(self) -> int:
        """Numbers of one E_m, or of an encoded action: the embedding, and behind it the view."""
        return self.embedding_width + self.view_width

    @property
    def views_width(self) -> int:
        """Numbers of a state behind the fused ones: all views, and which modalities are present."""
        return len(self.modalities) * (self.view_width + 1)

    @property
    def state_width(self) -> int:
        """Numbers of H."""
        return self.fused_width + self.views_width

    @property
    def head_width(self) -> int:
        """Features that the online head regresses on, without the constant."""
        return self.feature_width + (INTERACTIONS if self.action_features else self.views_width)


def _view_width(modalities: int, actions: int) -> int:
    """As wide as helps, and so narrow that the head's statistics, a matrix an action, stay within their size."""
    room = math.isqrt(HEAD_NUMBERS // max(1, actions)) - FEATURE_WIDTH - 1
    return max(LEAST_VIEW_WIDTH, min(VIEW_WIDTH, min(VIEWS_WIDTH, room) // modalities - 1))


class DataWindow(BaseModel):
    """What a version learned from: experiences by their sequence, decided in [`since`, `until`], microseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first_sequence: int
    last_sequence: int
    since: int
    until: int
    experiences: int
    # Of them the newest, which it was judged on before its head learned them too.
    held_out: int


class Origin(BaseModel):
    """Where a version was imported from: what it was called there, and the SHA-256 of its manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loop_id: str
    version: int
    parent: int | None
    training_run_id: str
    covers_sequence: int
    settings_revision: int
    manifest_sha256: str


class CurvePoint(BaseModel):
    """A fine-tune at one of its steps, counted from 1: the loss around it, and the learning rate it was made at."""

    model_config = ConfigDict(frozen=True)

    step: int
    loss: float
    learning_rate: float


class Manifest(BaseModel):
    """The immutable description of one model version; its own SHA-256 stands in the version's row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
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
    # None of a loop's first version, and in versions of old.
    data_window: DataWindow | None = None
    # None of one that was made here; the window is the origin's.
    imported_from: Origin | None = None
    # Empty of a first version, and of versions older than curves.
    training_curve: list[CurvePoint] = []
