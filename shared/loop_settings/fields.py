"""Types of fields, and what all settings are: frozen, and strict about names."""

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from shared.domain import NAME_PATTERN

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
ActionId = Annotated[str, Field(min_length=1, max_length=256)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# Feedback's numbers and the reward's settings stay below this, so that no sum or square of rewards overflows.
MAX_AMOUNT = 1e15
Amount = Annotated[float, Field(allow_inf_nan=False, ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
# JSON schema's own `duration` knows no parts of a second.
Duration = Annotated[
    timedelta,
    Field(gt=timedelta(0), le=timedelta(days=90)),
    WithJsonSchema({"type": "string", "pattern": r"^P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?$"}),
]
Features = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=256)], bool | Finite | Annotated[str, Field(max_length=4096)]],
    Field(max_length=256),
]

MAX_ACTIONS = 1000


class Settings(BaseModel):
    """Frozen, and strict about names: an unknown field is an error, not a silent nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
