"""What the policy service is told by its environment."""

from shared.settings import PlatformSettings


class PolicySettings(PlatformSettings):
    """The platform's settings: policy has none of its own."""
