"""What the fusion service is told by its environment."""

from shared.settings import ModelServiceSettings


class FusionServiceSettings(ModelServiceSettings):
    """The settings of all model services: fusion has none of its own."""
