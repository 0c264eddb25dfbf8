"""What the policy service is told by its environment."""

from shared.settings import ModelServiceSettings


class PolicySettings(ModelServiceSettings):
    """The settings of all model services: policy has none of its own."""
