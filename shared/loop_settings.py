"""What a loop's owner sets: validated, defaulted and described in one place, for every service and the API's schema."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from shared.domain import NAME_PATTERN

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ActionId = Annotated[str, Field(min_length=1, max_length=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# Feedback's numbers and the reward's settings stay below this, so that no sum or square of rewards overflows.
MAX_AMOUNT = 1e15
Amount = Annotated[float, Field(allow_inf_nan=False, ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
Duration = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=90))]
Features = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], bool | Finite | Annotated[str, Field(max_length=4096)]],
    Field(max_length=256),
]

MAX_ACTIONS = 1000


class Settings(BaseModel):
    """Frozen, and strict about names: an unknown field is an error, not a silent nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class CaptioningSettings(Settings):
    """Equation 16: α · BLEU + β · Detail - γ · Length of the served action's caption.

    A text that comes as feedback is a reference caption; several of them in one window are several references
    (`close_on_first_feedback: false` waits for them). Each term lies in [0, 1], so the score lies in [-γ, α + β].
    """

    kind: Literal["captioning"]
    alpha: float = Field(default=1.0, ge=0, le=1e6, description="α, weight of being right (BLEU).")
    beta: float = Field(default=0.5, ge=0, le=1e6, description="β, weight of saying much (Detail).")
    gamma: float = Field(default=0.5, ge=0, le=1e6, description="γ, weight of not saying too much (Length).")
    caption_feature: str = Field(
        default="caption",
        min_length=1,
        max_length=256,
        description="The action's feature that holds the caption; the action's id where it has none.",
    )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest score."""
        return -self.gamma, self.alpha + self.beta


class MetricSettings(Settings):
    """One kind of feedback and its share in the reward."""

    weight: Amount = Field(default=1.0, description="Factor of the metric in the reward; negative for costs.")
    modality: Name | None = Field(
        default=None,
        description="The modality that the metric judges: it is left out where the context lacked that modality.",
    )
    scorer: CaptioningSettings | None = Field(
        default=None, description="Turns texts into a number: the metric then takes texts only. Null: numbers only."
    )

    @property
    def takes_texts(self) -> bool:
        return self.scorer is not None


def _expected_range(reward: dict[str, Any]) -> tuple[float, float]:
    """What scored metrics can come to, with numbers taken as 0 to 1; [0, 1] where no metric is scored."""
    metrics: list[MetricSettings] = list(reward.get("metrics", {}).values())
    if not any(metric.takes_texts for metric in metrics):
        return 0.0, 1.0
    bounds = [(metric.weight, metric.scorer.bounds if metric.scorer else (0.0, 1.0)) for metric in metrics]
    ends = [sorted((weight * low, weight * high)) for weight, (low, high) in bounds]
    low, high = sum(low for low, _ in ends), sum(high for _, high in ends)
    return max(low, -MAX_AMOUNT), min(high, MAX_AMOUNT)


class RewardSettings(Settings):
    """How feedback becomes a reward: the sum over metrics of weight times value (equation 10)."""

    metrics: dict[Name, MetricSettings] = Field(
        default_factory=lambda: {"reward": MetricSettings()}, min_length=1, max_length=32
    )
    range: tuple[Amount, Amount] = Field(
        default_factory=_expected_range,
        description="Least and greatest reward that is expected: scores are standardised by it, rewards are not cut. "
        "Default: [0, 1]; with scored metrics what the sum of weights times scores can come to.",
    )

    @model_validator(mode="after")
    def _range_ascends(self) -> Self:
        if not self.range[0] < self.range[1]:
            raise ValueError("`range` must ascend")
        return self


class ExplorationSettings(Settings):
    """How scores become a distribution. Acts within two seconds of a change."""

    strategy: Literal["thompson", "ucb", "squarecb", "epsilon_greedy", "boltzmann"] = "thompson"
    epsilon: float = Field(default=0.1, ge=0, le=1, description="Share of random choices under `epsilon_greedy`.")
    temperature: float = Field(
        default=0.1, gt=0, le=1e6, description="Of `boltzmann`, in units of the reward's range: higher explores more."
    )
    scale: float = Field(
        default=0.3,
        ge=0,
        le=100,
        description="Of `thompson` and `ucb`: standard deviations of the head that they explore by; lower is greedier.",
    )
    gamma: float = Field(
        default=100.0, ge=0, le=1e9, description="Of `squarecb`, per the reward's range: higher is greedier."
    )
    floor: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Share of every distribution spread evenly over the allowed actions; above 0, logs stay evaluable.",
    )
    abstain_below: Amount | None = Field(
        default=None,
        description="Where the best action's expected reward may well be lower than this (the lower end of its "
        "`interval`), the `baseline_action_id` is given with probability 1. Higher: more often. Default: never.",
    )
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="Makes draws repeatable: keyed by this and the decision id."
    )


class FusionSettings(Settings):
    """How the embeddings of the modalities become one state. Acts with the next model version."""

    strategy: Literal["attention", "weighted_sum", "shared_attention", "coupled_encoders"] = "attention"


class LearningSettings(Settings):
    """When and how the deep model is fine-tuned. Acts with the next model version."""

    objective: Literal["reward_regression", "q_learning", "reward_guided"] = Field(
        default="reward_regression",
        description="`q_learning` looks beyond a decision's own reward, along its episode. `reward_guided` learns the "
        "distribution itself, by the policy gradient: the exploration's strategy does not act then, its floor does.",
    )
    discount: float = Field(
        default=0.9, ge=0, lt=1, description="γ of `q_learning`: how much the next decision's value counts; 0: not."
    )
    double_q: bool = Field(
        default=False,
        description="`q_learning`: the networks that learn choose the next action, the target network rates it. "
        "Corrects estimates that noise makes too high.",
    )
    target_update_steps: int = Field(
        default=100, ge=1, le=100_000, description="`q_learning`: gradient steps between two copies to the target."
    )
    interval: Duration = Field(default=timedelta(minutes=5), description="Least time between two fine-tunes.")
    min_experiences: int = Field(default=200, ge=1, le=1_000_000, description="New experiences that start one.")
    tune: Literal["all", "adapters"] = Field(
        default="all",
        description="What learns: everything, or, while encoders and fusion are frozen, small adapters behind the "
        "encoders, and the Q-network. Back at `all`, the adapters are left out.",
    )
    adapter_rank: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Width of the adapters' bottleneck: higher can adapt more. Typical: 4 to 32.",
    )
    adapter_beta: float = Field(
        default=1e-4,
        ge=0,
        le=10,
        description="β of the pull of the adapters towards changing nothing: higher, stronger.",
    )
    l2_sp: float = Field(default=1e-4, ge=0, le=10, description="λ of the pull towards the champion's weights.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Peak of the cosine schedule.")
    max_steps: int = Field(default=600, ge=1, le=100_000, description="Gradient steps of one fine-tune at most.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Same log, seed and device: the same version.")

    @property
    def bootstraps(self) -> bool:
        """An experience's target rests on the value of what followed it, and so on a version's own estimates."""
        return self.objective == "q_learning" and self.discount > 0


class FairnessSettings(Settings):
    """Whether segments are treated alike: selection rate by action and mean reward of each, in the statistics."""

    segments: list[Annotated[str, Field(min_length=3, max_length=321)]] = Field(
        default_factory=list,
        max_length=8,
        description="Fields of tabular modalities, `<modality>.<field>`: each of a field's values is a segment.",
        examples=[["user.country"]],
    )
    min_decisions: int = Field(
        default=30, ge=2, le=1000, description="Matured decisions that a segment must have to be told; more are surer."
    )


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
    learning_mode: Literal["online"] = "online"
    fairness: FairnessSettings = FairnessSettings()

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
            raise ValueError("`learning.objective` `reward_guided` needs `actions` to be listed, without `features`")
        return self

    @model_validator(mode="after")
    def _q_learning_needs_episodes(self) -> Self:
        if self.learning.objective == "q_learning" and self.problem_type != "episodic":
            raise ValueError("`learning.objective` `q_learning` needs `problem_type` `episodic`")
        return self

    @model_validator(mode="after")
    def _action_ids_are_unique(self) -> Self:
        ids = [action.id for action in self.actions]
        if len(set(ids)) != len(ids):
            raise ValueError("two `actions` have the same `id`")
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


@dataclass(frozen=True, slots=True)
class Loop:
    """One decision problem of one tenant; `settings_revision` grows with every change of its settings."""

    tenant: str
    loop_id: str
    settings: LoopSettings
    settings_revision: int
    created_at: int
