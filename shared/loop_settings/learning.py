"""How a loop explores, fuses and learns, and what its statistics watch."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from shared.loop_settings.fields import Amount, Duration, Settings


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
    warm_up: Duration = Field(
        default=timedelta(hours=1),
        description="How long the floor is at least .1 after a loop goes online from `apprentice`: longer tries "
        "more of what the baseline never chose.",
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
    on_drift: bool = Field(
        default=False,
        description="Starts a fine-tune as soon as rewards are found to differ from what was expected more than they "
        "used to, without waiting for `interval` and `min_experiences`.",
    )
    since_drift: bool = Field(
        default=False,
        description="Where rewards come to fall short of what was expected far more than they used to, a fine-tune "
        "learns from what came after that alone. False: from all that it replays.",
    )
    replay_half_life: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="After how many newer experiences a fine-tune looks at one half as often. "
        "Lower follows a change sooner, and learns from less. Default: all alike.",
    )
    propensity_limit: float = Field(
        default=1.0,
        ge=1,
        le=1000,
        description="How much more often at most a fine-tune looks at an experience for the rarity of its action, "
        "1 / probability. Higher learns more evenly over actions, from fewer experiences. 1: all alike.",
    )
    half_life: Duration | None = Field(
        default=None,
        description="Where the world changes: how much older than the newest a decision is when what the online head "
        "learned from it counts half. Shorter forgets sooner, and is less sure. Default: it forgets nothing.",
    )
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
    patience: int | None = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Gradient steps without a lower error of held-out experiences, a tenth of those that are learned "
        "from, after which a fine-tune ends; the weights with the lowest are kept. Lower ends sooner. Null: all steps.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Same log, seed and device: the same version.")

    @property
    def half_life_microseconds(self) -> int:
        """0 where the head forgets nothing."""
        return 0 if self.half_life is None else self.half_life // timedelta(microseconds=1)

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
