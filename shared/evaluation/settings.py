"""What an evaluation is told: whose value is asked for, by which estimators, over which decisions."""

import math
from typing import Annotated, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from shared.evaluation.estimators import ESTIMATORS, EstimatorName
from shared.loop_settings.fields import MAX_ACTIONS, ActionId, Finite, Settings

# Tables are written with few digits, and logged probabilities often rounded to 32 bits.
SUM_TOLERANCE: Final = 1e-4
MAX_KEYS: Final = 1000

Share = Annotated[Finite, Field(ge=0, le=1)]
Shares = Annotated[dict[ActionId, Share], Field(min_length=1, max_length=MAX_ACTIONS)]


class ModelVersionTarget(Settings):
    """A model version as it was published, exploring as the loop does."""

    model_version: str = Field(pattern=r"^[1-9][0-9]{0,17}$", description="One of the loop's versions.", examples=["2"])


class ConstantTarget(Settings):
    """Always the same action."""

    constant: ActionId = Field(description="The action that is always chosen.")


class ProbabilityTable(Settings):
    """Probabilities by action, the same for all decisions or by what a field of their context holds."""

    probabilities: Shares | None = Field(
        default=None, description="By action, summing to one; every listed action of the loop is named."
    )
    context_key: str | None = Field(
        default=None, max_length=512, description="`<modality>.<field>` of a table, or the name of a text modality."
    )
    by_key: Annotated[dict[str, Shares], Field(min_length=1, max_length=MAX_KEYS)] | None = Field(
        default=None, description="In place of `probabilities`: what `context_key` holds → probabilities by action."
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if (self.probabilities is None) == (self.by_key is None) or (self.by_key is None) != (self.context_key is None):
            raise ValueError("A table has either `probabilities`, or `context_key` with `by_key`")
        for name, shares in self.rows.items():
            total = math.fsum(shares.values())
            if abs(total - 1) > SUM_TOLERANCE:
                raise ValueError(f"The probabilities{f' of {name!r}' if name else ''} sum to {total:.6g}, not to one")
        return self

    @property
    def rows(self) -> dict[str, dict[str, float]]:
        """Probabilities by action, by key; by "" where one row is for all."""
        return self.by_key or {"": self.probabilities or {}}


class TableTarget(Settings):
    """A policy that is written down."""

    table: ProbabilityTable


def _kind(value: object) -> str | None:
    """Which kind of target a value is meant to be, so that an error is told of that kind alone."""
    if isinstance(value, str):
        return "name"
    names = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Settings) else {}
    return next((kind for kind in ("model_version", "constant", "table") if kind in names), None)


Target = Annotated[
    Annotated[Literal["baseline", "uniform"], Tag("name")]
    | Annotated[ModelVersionTarget, Tag("model_version")]
    | Annotated[ConstantTarget, Tag("constant")]
    | Annotated[TableTarget, Tag("table")],
    Discriminator(
        _kind,
        custom_error_type="not_a_target",
        custom_error_message='It is "baseline", "uniform", or an object of `model_version`, `constant` or `table`',
    ),
]


class EvaluationSettings(Settings):
    """One evaluation; times are microseconds since 1970, UTC."""

    target: Target
    estimators: tuple[EstimatorName, ...] = ESTIMATORS
    since: int | None = None
    until: int | None = None
    clip: float | None = None
