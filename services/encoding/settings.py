"""What the encoding service is told by its environment."""

from pydantic import Field

from shared.settings import ModelServiceSettings


class EncodingSettings(ModelServiceSettings):
    """The settings of all model services and those of encoding."""

    encoding_threads: int = Field(
        default=2, ge=1, le=64, description="Batches encoded side by side; more help where media take long to decode."
    )
