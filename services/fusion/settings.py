"""What the fusion service is told by its environment."""

from shared.settings import PlatformSettings


class FusionServiceSettings(PlatformSettings):
    """The platform's settings: fusion has none of its own."""
