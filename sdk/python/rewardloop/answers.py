"""What the platform answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]  # JSON, whatever it holds


@dataclass(frozen=True, slots=True)
class RankedAction:
    """A candidate; scores are None where no model version decided."""

    id: str
    probability: float
    expected_reward: float | None = None
    interval: tuple[float, float] | None = None
    outcome_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen action and its true probability.

    `is_local`: this library chose, since the platform was away; the platform is told when it is back.
    """

    loop_id: str
    decision_id: str
    action_id: str
    probability: float
    ranking: Sequence[RankedAction]
    model_version: str | None = None
    modalities_used: Sequence[str] = ()
    modalities_missing: Sequence[str] = ()
    modality_importance: Mapping[str, float] | None = None
    fallback_reason: str | None = None
    logged: bool = True
    is_local: bool = False


def decision_of(loop_id: str, body: JsonObject) -> Decision:
    """The decision of an answer; members that are not known here are left out."""
    return Decision(
        loop_id=loop_id,
        decision_id=body["decision_id"],
        action_id=body["action_id"],
        probability=body["probability"],
        ranking=[_ranked(row) for row in body["ranking"]],
        model_version=body["model_version"],
        modalities_used=body["modalities_used"],
        modalities_missing=body["modalities_missing"],
        modality_importance=body["modality_importance"],
        fallback_reason=body["fallback_reason"],
        logged=body.get("logged", True),
    )


def _ranked(row: JsonObject) -> RankedAction:
    return RankedAction(
        id=row["id"],
        probability=row["probability"],
        expected_reward=row["expected_reward"],
        interval=_pair(row["interval"]),
        outcome_interval=_pair(row["outcome_interval"]),
    )


def _pair(value: Sequence[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])
