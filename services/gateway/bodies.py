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
from shared.loop_settings import MAX_ACTIONS, MAX_AMOUNT, ActionId, ActionSettings, Amount
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
        return self


class TrainingRunRequest(Body):
    """A fine-tune on everything that was acknowledged so far."""


class KeyRequest(Body):
    """A new key of the caller's tenant."""

    role: Role = Field(description="`decide` and `feedback` allow just that; `manage` allows everything.")
