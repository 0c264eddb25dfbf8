"""What requests hold. Strict: a number in quotes is a text, and an unknown field is an error."""

import re
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.gateway.moments import moment_of
from shared.domain import End
from shared.evaluation.estimators import ESTIMATORS, EstimatorName
from shared.evaluation.settings import EvaluationSettings, Target
from shared.loop_settings import MAX_ACTIONS, MAX_AMOUNT, ActionId, ActionSettings, Amount, FrozenTo, RolloutSettings
from shared.security import Role

MAX_BATCH: Final = 256
MAX_FEEDBACK: Final = 1000
MAX_TEXT: Final = 4096

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
Id = Annotated[
    str,
    Field(
        pattern=f"^{ID.pattern}$",
        description="1 to 128 letters, digits, `.`, `_`, `:` or `-`; a UUIDv7 is made where it is left out.",
    ),
]
Reference = Annotated[str, Field(pattern=f"^{ID.pattern}$")]

MEDIA_SCHEMA: Final = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "data": {"type": "string", "contentEncoding": "base64"},
                "content_type": {"type": "string", "examples": ["image/png", "audio/wav", "video/mp4"]},
            },
            "required": ["data"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"media_id": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
            "required": ["media_id"],
            "additionalProperties": False,
        },
    ]
}
CONTEXT_SCHEMA: Final = {
    "type": "object",
    "description": "Modality name → value; any subset of the loop's modalities, null for one that is missing. "
    'text: a string. image, audio, video: `{"data": base64, "content_type"}`, or `{"media_id"}` of bytes sent to '
    "/v1/media. tabular: a flat object of numbers, words and flags. embedding: a list of numbers, or "
    '`{"data": base64}` of little-endian float32, which is read sooner.',
    "additionalProperties": {
        "anyOf": [
            {"type": "string", "title": "text"},
            {"title": "image, audio or video", **MEDIA_SCHEMA},
            {
                "type": "object",
                "title": "tabular",
                "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
            },
            {"type": "array", "title": "embedding", "items": {"type": "number"}},
            {"type": "null", "title": "missing"},
        ]
    },
}

Context = Annotated[dict[str, object], WithJsonSchema(CONTEXT_SCHEMA)]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _follows_in_an_episode(previous: str | None, info: ValidationInfo) -> str | None:
    if previous is not None and info.data.get("episode_id") is None:
        raise ValueError("A decision that follows another one needs the `episode_id` of both")
    return previous


def _ends_an_episode(end: End | None, info: ValidationInfo) -> End | None:
    if end is not None and info.data.get("episode_id") is None:
        raise ValueError("An end needs the `episode_id` of what ended")
    return end


class DecisionRequest(Body):
    """What to decide on."""

    decision_id: Id | None = None
    context: Context = Field(default_factory=dict)
    actions: list[ActionSettings] | None = Field(
        default=None, max_length=MAX_ACTIONS, description="The candidates; may be left out where the loop lists them."
    )
    excluded_action_ids: list[ActionId] = Field(
        default_factory=list, max_length=MAX_ACTIONS, description="Candidates that may not be chosen now."
    )
    baseline_action_id: ActionId | None = Field(
        default=None, description="What the product would do by itself: it is chosen where no model can be reached."
    )
    episode_id: Reference | None = Field(default=None, description="The episode that the decision is part of.")
    previous_decision_id: Annotated[Reference | None, AfterValidator(_follows_in_an_episode)] = Field(
        default=None, description="The decision before it in its episode; none: it is the first."
    )
    subject_id: str | None = Field(default=None, min_length=1, max_length=256, description="Whom it is decided for.")
    deferred: bool = Field(
        default=False, description="True: the window of the reward starts when the decision is activated."
    )
    explain: bool = Field(
        default=False, description="True: `modality_importance` says how much each modality had to do with the choice."
    )


class DecisionBatch(Body):
    """Up to 256 decisions of one loop."""

    # Each row is checked by itself, so that one row's error is its own.
    decisions: Annotated[
        list[object],
        WithJsonSchema(
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_BATCH,
                "items": {"$ref": "#/components/schemas/DecisionRequest"},
            }
        ),
    ] = Field(min_length=1, max_length=MAX_BATCH)


class ActivationRequest(Body):
    """A deferred decision was shown."""

    served_action_id: ActionId | None = Field(
        default=None, description="What was shown, where it was another action than the drawn one."
    )


def _value(value: object) -> float | str:
    """A number, true and false as 1 and 0, or a text."""
    if isinstance(value, str):
        if not 1 <= len(value) <= MAX_TEXT or "\0" in value:
            raise PydanticCustomError("not_a_text", f"A text holds 1 to {MAX_TEXT:,} characters, none of them NUL")
        return value
    if isinstance(value, bool | int | float) and abs(value) <= MAX_AMOUNT:
        return float(value)
    raise PydanticCustomError("not_a_value", f"A value is a number of at most {MAX_AMOUNT:.0e}, true, false or a text")


def _moment(value: object) -> int | None:
    """Microseconds since 1970."""
    if value is None:
        return None
    try:
        return moment_of(value if isinstance(value, str) else "")
    except ValueError:
        raise PydanticCustomError(
            "not_a_moment", "A time is written in ISO 8601 with its offset: 2026-11-23T14:05:00Z"
        ) from None


OptionalMoment = Annotated[
    int | None, BeforeValidator(_moment), WithJsonSchema({"type": ["string", "null"], "format": "date-time"})
]


class FeedbackRequest(Body):
    """One event about a decision."""

    decision_id: Reference
    feedback_id: Id | None = None
    metric: str = Field(description="One of the metrics of the loop's reward.", examples=["click"])
    value: Annotated[
        float | str,
        BeforeValidator(_value),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "number", "minimum": -MAX_AMOUNT, "maximum": MAX_AMOUNT},
                    {"type": "boolean", "description": "True counts 1, false 0."},
                    {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": MAX_TEXT,
                        "description": "For a metric with a `scorer`, which takes nothing else: a reference caption.",
                    },
                ],
                "examples": [1],
            }
        ),
    ]
    occurred_at: OptionalMoment = Field(default=None, description="By the product's clock.")


class EpisodeEndRequest(Body):
    """An episode is over."""

    end: End = Field(
        description="`terminated`: nothing follows. `truncated`: more would have followed, but nobody sees it."
    )
    decision_id: Reference = Field(description="The episode's last decision.")


class ImportedRow(Body):
    """A decision of another system with what came of it: one line of an import."""

    decision_id: Reference
    time: OptionalMoment = Field(default=None, description="When it was decided; now, where it is left out.")
    context: Context = Field(default_factory=dict)
    actions: list[ActionSettings] | None = Field(
        default=None, max_length=MAX_ACTIONS, description="The candidates; may be left out where the loop lists them."
    )
    action_id: ActionId = Field(description="What was done: one of the candidates.")
    probability: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="With which it was drawn. Without it the row has no part in evaluations."
    )
    probabilities: dict[ActionId, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None,
        description="In place of `probability`: that of each candidate, summing to one. Where only one is told, the "
        "others are taken to have shared the rest evenly.",
    )
    reward: Amount | None = Field(default=None, description="In place of feedback.")
    feedback: list[dict[str, object]] | None = Field(
        default=None,
        max_length=MAX_FEEDBACK,
        description="Events as POST …/feedback takes them, without `decision_id`; they make the reward.",
    )
    episode_id: Reference | None = None
    previous_decision_id: Annotated[Reference | None, AfterValidator(_follows_in_an_episode)] = None
    end: Annotated[End | None, AfterValidator(_ends_an_episode)] = Field(
        default=None, description="How the episode ended with this decision, if it did."
    )

    @model_validator(mode="after")
    def _has_one_outcome(self) -> Self:
        if (self.reward is None) == (self.feedback is None):
            raise ValueError("A row has either a `reward` or `feedback`")
        if self.probability is not None and self.probabilities is not None:
            raise ValueError("A row has either a `probability` or `probabilities`")
        return self


class TrainingRunRequest(Body):
    """A fine-tune on everything that was acknowledged so far."""


class WindowRequest(Body):
    """Which decisions, by the time at which they were made."""

    since: OptionalMoment = Field(default=None, description="Decided then or later.")
    until: OptionalMoment = Field(default=None, description="Decided before then.")


class EvaluationRequest(Body):
    """What would another policy have earned on what was logged?"""

    target: Target = Field(description="Whose value is asked for.")
    estimators: Annotated[list[EstimatorName], Field(min_length=1, max_length=len(ESTIMATORS))] = Field(
        default=list(ESTIMATORS), description="docs/evaluation.md says when to trust which."
    )
    window: WindowRequest = Field(default=WindowRequest(), description="Which decisions; all, where it is left out.")
    clip: Annotated[float, Field(gt=0, le=MAX_AMOUNT)] | None = Field(
        default=None, description="No row weighs more than this; lower: less variance, more bias. None by default."
    )

    def settings(self) -> EvaluationSettings:
        return EvaluationSettings(
            target=self.target,
            estimators=tuple(dict.fromkeys(self.estimators)),
            since=self.window.since,
            until=self.window.until,
            clip=self.clip,
        )


class RolloutRequest(RolloutSettings):
    """A version to roll out; what is left out is as in the loop's `rollout`."""

    model_version: str = Field(pattern=r"^[1-9][0-9]{0,17}$", examples=["7"])

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.model_version)

    @property
    def settings(self) -> RolloutSettings:
        """As it is to be rolled out."""
        return RolloutSettings.model_validate(self.model_dump(exclude={"model_version"}))

    @staticmethod
    def over(loop: RolloutSettings, body: object) -> object:
        """A body over the loop's own settings; another strategy than the loop's has steps of its own."""
        if not isinstance(body, dict):
            return body
        settings = loop.model_dump(mode="json")
        if body.get("strategy", loop.strategy) != loop.strategy:
            settings["steps"] = []
        return settings | body


class CollectionRequest(Body):
    """Weights of versions that nothing needs are to go."""

    dry_run: bool = Field(default=False, description="Say what would go, and leave it.")


class RolloutPlanRequest(Body):
    """What a rollout would have to show."""

    base_reward: Amount | None = Field(
        default=None, description="Mean reward of the champion; the loop's own so far where it is left out."
    )
    lift: float = Field(
        ge=-1,
        le=100,
        description="How much more the version earns, as a share of that: .2; -.3 for one that is worse.",
    )
    share: float = Field(default=0.1, gt=0, lt=1, description="Of the decisions that the version makes.")


class FreezeRequest(Body):
    """Learning stops."""

    serve: FrozenTo = Field(
        default="baseline",
        description="`baseline`: the product's own choice, `baseline_action_id`. `champion`: the version that is the "
        "champion now, as it is now.",
    )


class WebhookRequest(Body):
    """An address that is to be told of every step of the tenant's rollouts."""

    url: str = Field(
        pattern=r"^https?://[A-Za-z0-9._:\[\]-]+(/[!-?A-~]*)?$",
        max_length=2000,
        examples=["https://example.com/rollouts"],
    )


class KeyRequest(Body):
    """A new key of the caller's tenant."""

    role: Role = Field(description="`decide` and `feedback` allow just that; `manage` allows everything.")
