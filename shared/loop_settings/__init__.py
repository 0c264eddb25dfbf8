"""What a loop's owner sets: validated, defaulted and described in one place, for every service and the API's schema."""

from shared.loop_settings.context import ActionSettings, ModalitySettings
from shared.loop_settings.fields import MAX_ACTIONS, MAX_AMOUNT, ActionId, Amount
from shared.loop_settings.learning import ExplorationSettings, FairnessSettings, FusionSettings, LearningSettings
from shared.loop_settings.loop import FrozenTo, Loop, LoopSettings
from shared.loop_settings.reward import CaptioningSettings, MetricSettings, RewardSettings
from shared.loop_settings.rollout import GuardrailSettings, HoldoutSettings, RolloutSettings, Strategy

__all__ = [
    "MAX_ACTIONS",
    "MAX_AMOUNT",
    "ActionId",
    "ActionSettings",
    "Amount",
    "CaptioningSettings",
    "ExplorationSettings",
    "FairnessSettings",
    "FrozenTo",
    "FusionSettings",
    "GuardrailSettings",
    "HoldoutSettings",
    "LearningSettings",
    "Loop",
    "LoopSettings",
    "MetricSettings",
    "ModalitySettings",
    "RewardSettings",
    "RolloutSettings",
    "Strategy",
]
