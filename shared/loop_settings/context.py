"""What a decision is made from: the loop's modalities, and the candidates that it lists."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shared.loop_settings.fields import ActionId, Features, Settings


class ModalitySettings(Settings):
    """One way in which a context reaches the loop."""

    kind: Literal["text", "image", "audio", "video", "tabular", "embedding"] = Field(
        description="How its values are read."
    )
    dimension: int | None = Field(
        default=None, ge=1, le=8192, description="Numbers in an `embedding`; required for that kind, absent for others."
    )
    components: int | None = Field(
        default=None,
        ge=1,
        le=60,
        description="Principal components of its values that the online head sees, at most: fewer learn faster, know "
        "less. Default: as many as suit the numbers of modalities and actions. Acts with the next model version.",
    )

    @model_validator(mode="after")
    def _dimension_belongs_to_embeddings(self) -> Self:
        if (self.kind == "embedding") != (self.dimension is not None):
            raise ValueError("`dimension` is required for kind `embedding` and belongs to no other kind")
        return self


class ActionSettings(Settings):
    """A candidate that every decision of the loop may choose."""

    id: ActionId
    features: Features | None = Field(default=None, description="What is known of the action: numbers, words, flags.")
