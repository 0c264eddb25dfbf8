"""A loop with all its settings, and what one field must know of another."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from shared.loop_settings.context import ActionSettings, ModalitySettings
from shared.loop_settings.fields import MAX_ACTIONS, Amount, Duration, Name, Settings
from shared.loop_settings.learning import ExplorationSettings, FairnessSettings, FusionSettings, LearningSettings
from shared.loop_settings.reward import RewardSettings
from shared.loop_settings.rollout import HoldoutSettings, RolloutSettings

# Of exploration, while a loop that was an apprentice warms up: it knows the baseline's actions alone.
WARM_UP_FLOOR: Final = 0.1
OBJECTIVE: Final = ("learning", "objective")


def _fault(at: tuple[str | int, ...], value: object, message: str) -> ValidationError:
    """An error that names its field, for what one field cannot know of another."""
    error = PydanticCustomError("value_error", "{message}", {"message": message})
    return ValidationError.from_exception_data("LoopSettings", [{"type": error, "loc": at, "input": value}])


class LoopSettings(Settings):
    """One decision problem. `{"modalities": …}` alone makes a working loop."""

    problem_type: Literal["cb", "episodic"] = Field(
        default="cb", description="`episodic`: decisions follow one another in episodes; `cb`: each stands alone."
    )
    modalities: dict[Name, ModalitySettings] = Field(min_length=1, max_length=16)
    actions: list[ActionSettings] = Field(
        default_factory=list, max_length=MAX_ACTIONS, description="May be left out where every decision brings its own."
    )
    reward: RewardSettings = RewardSettings()
    reward_wait_time: Duration = timedelta(minutes=10)
    default_reward: Amount = 0.0
    reward_aggregation: Literal["earliest", "sum", "average", "median", "min", "max"] = "earliest"
    late_feedback: Literal["keep", "restate"] = Field(
        default="keep",
        description="Feedback after the window is kept and marked; with `restate` it counts too, and the experience "
        "is restated as a new revision. Rollouts judge by the window either way.",
    )
    close_on_first_feedback: bool = Field(
        default=True,
        description="An experience closes when every metric has come. "
        "Default: true with one metric aggregated by `earliest`, else false.",
    )
    episode_timeout: Duration = Field(
        default=timedelta(days=1),
        description="An episode whose last decision is older counts as truncated, whatever its end says later.",
    )
    exploration: ExplorationSettings = ExplorationSettings()
    fusion: FusionSettings = FusionSettings()
    learning: LearningSettings = LearningSettings()
    learning_mode: Literal["online", "apprentice", "logging_only"] = Field(
        default="online",
        description="`apprentice` serves each decision's `baseline_action_id` (without one, the first action) and "
        "learns to imitate it; `logging_only` serves it, and starts no fine-tune. Acts within two seconds.",
    )
    fairness: FairnessSettings = FairnessSettings()
    rollout: RolloutSettings = Field(
        default=RolloutSettings(), description="How a fine-tuned version takes over once the gate has let it pass."
    )
    holdout: HoldoutSettings = HoldoutSettings()

    @model_validator(mode="before")
    @classmethod
    def _closing_follows_the_reward(cls, body: object) -> object:
        if not isinstance(body, dict) or body.get("close_on_first_feedback") is not None:
            return body
        reward = body.get("reward")
        metrics = reward.get("metrics") if isinstance(reward, dict) else None
        one_metric = not isinstance(metrics, dict) or len(metrics) == 1
        earliest = body.get("reward_aggregation", "earliest") == "earliest"
        return body | {"close_on_first_feedback": one_metric and earliest}

    @model_validator(mode="after")
    def _metrics_judge_known_modalities(self) -> Self:
        known = ", ".join(sorted(self.modalities))
        for name, metric in self.reward.metrics.items():
            if metric.modality is not None and metric.modality not in self.modalities:
                at = ("reward", "metrics", name, "modality")
                raise _fault(at, metric.modality, f"The loop has no such modality; it has {known}")
        return self

    @model_validator(mode="after")
    def _reward_guided_needs_listed_actions(self) -> Self:
        listed = self.actions and all(action.features is None for action in self.actions)
        if self.learning.objective == "reward_guided" and not listed:
            raise _fault(OBJECTIVE, "reward_guided", "`reward_guided` needs `actions` to be listed, without `features`")
        return self

    @model_validator(mode="after")
    def _q_learning_needs_episodes(self) -> Self:
        if self.learning.objective == "q_learning" and self.problem_type != "episodic":
            raise _fault(OBJECTIVE, "q_learning", "`q_learning` needs `problem_type` `episodic`")
        return self

    @model_validator(mode="after")
    def _action_ids_are_unique(self) -> Self:
        ids = [action.id for action in self.actions]
        if len(set(ids)) != len(ids):
            raise _fault(("actions",), ids, "Two `actions` have the same `id`")
        return self

    @model_validator(mode="after")
    def _segments_are_fields_of_tables(self) -> Self:
        for index, segment in enumerate(self.fairness.segments):
            if self.segment_field(segment) is None:
                message = "A segment is `<modality>.<field>` of one of the loop's tabular modalities"
                raise _fault(("fairness", "segments", index), segment, message)
        return self

    def segment_field(self, segment: str) -> tuple[str, str] | None:
        """Modality and field of `<modality>.<field>`; None where no tabular modality has that name."""
        tables = [name for name, modality in self.modalities.items() if modality.kind == "tabular"]
        # Both parts may hold dots: the longest name that fits is meant.
        for name in sorted(tables, key=len, reverse=True):
            if segment.startswith(f"{name}.") and len(segment) > len(name) + 1:
                return name, segment.removeprefix(f"{name}.")
        return None


# What a frozen loop serves: the product's own choice, or the version that was the champion.
FrozenTo = Literal["baseline", "champion"]


@dataclass(frozen=True, slots=True)
class Loop:
    """One decision problem of one tenant; `settings_revision` grows with every change of its settings."""

    tenant: str
    loop_id: str
    settings: LoopSettings
    settings_revision: int
    created_at: int
    # When it went online from apprentice mode; None where it never did.
    online_at: int | None = None
    # While it is set nothing is learned.
    frozen_to: FrozenTo | None = None

    def settings_at(self, now: int) -> LoopSettings:
        """As they act at a time: for a while after apprentice mode, with a higher floor."""
        exploration = self.settings.exploration
        warm_up = exploration.warm_up // timedelta(microseconds=1)
        if self.online_at is None or now >= self.online_at + warm_up or exploration.floor >= WARM_UP_FLOOR:
            return self.settings
        raised = exploration.model_copy(update={"floor": WARM_UP_FLOOR})
        return self.settings.model_copy(update={"exploration": raised})
