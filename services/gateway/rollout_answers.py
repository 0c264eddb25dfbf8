"""Rollouts and aliases as the API gives them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from services.gateway.answers import Answer, Moment
from services.gateway.moments import iso, maybe_iso
from services.gateway.stored import version_name
from shared.domain import Alias
from shared.evaluation.rollout_plan import Plan
from shared.loop_settings import RolloutSettings
from shared.registry.versions import AliasMove
from shared.rollouts import Rollout, RolloutEvent, RolloutEventKind, RolloutStatus

Figures = dict[str, float | int | str | None]


class RolloutAnswer(Answer):
    """A version on its way to becoming the champion."""

    rollout_id: str
    model_version: str
    champion_version: str | None = Field(description="When it began: what the version is held against.")
    status: RolloutStatus = Field(
        description="`inconclusive`: no verdict in time; it stays as it is. `stopped`: its figures cannot be trusted."
    )
    percent: int = Field(description="Of the decisions that the version makes now; 0: it scores along, or has ended.")
    step: int = Field(description="Which of the steps, from 0.")
    steps: list[int]
    settings: RolloutSettings
    started_at: Moment
    step_started_at: Moment
    finished_at: Moment | None
    detail: str | None
    figures: Figures = Field(description="What was last found.")


class RolloutEventAnswer(Answer):
    """One step of a rollout, with the figures that decided it."""

    event_id: str
    at: Moment
    kind: RolloutEventKind
    caused_by: str
    step: int
    detail: str | None
    figures: Figures


class RolloutDetail(RolloutAnswer):
    """A rollout with all its steps, oldest first."""

    events: list[RolloutEventAnswer]


class RolloutPlanAnswer(Answer):
    """How many matured decisions a rollout takes until its verdict has come in 95 of 100."""

    verdict: Literal["promoted", "rolled_back"]
    decisions: int = Field(description="Of both arms together.")
    of_version: int
    base_reward: float
    lift: float
    share: float


class AliasMoveAnswer(Answer):
    """Who pointed an alias at which version; null: nothing bears it from then on."""

    alias: Alias
    model_version: str | None
    previous_version: str | None
    moved_at: Moment
    moved_by: str


def rollout_answer(rollout: Rollout) -> RolloutAnswer:
    return RolloutAnswer(**_members(rollout))


def detail_of(rollout: Rollout, events: Sequence[RolloutEvent]) -> RolloutDetail:
    return RolloutDetail(**_members(rollout), events=[_event(event) for event in events])


def plan_answer(plan: Plan, base: float, lift: float, share: float) -> RolloutPlanAnswer:
    return RolloutPlanAnswer(
        verdict=plan.verdict,
        decisions=plan.decisions,
        of_version=plan.of_version,
        base_reward=base,
        lift=lift,
        share=share,
    )


def move_answer(move: AliasMove) -> AliasMoveAnswer:
    return AliasMoveAnswer(
        alias=move.alias,
        model_version=version_name(move.version),
        previous_version=version_name(move.previous_version),
        moved_at=iso(move.moved_at),
        moved_by=move.moved_by,
    )


def _event(event: RolloutEvent) -> RolloutEventAnswer:
    return RolloutEventAnswer(
        event_id=event.event_id,
        at=iso(event.at),
        kind=event.kind,
        caused_by=event.caused_by,
        step=event.step,
        detail=event.detail,
        figures=dict(event.figures),
    )


def _members(rollout: Rollout) -> dict[str, object]:
    return {
        "rollout_id": rollout.rollout_id,
        "model_version": str(rollout.version),
        "champion_version": version_name(rollout.champion_version),
        "status": rollout.status,
        "percent": rollout.percent,
        "step": rollout.step,
        "steps": list(rollout.settings.shares),
        "settings": rollout.settings,
        "started_at": iso(rollout.started_at),
        "step_started_at": iso(rollout.step_started_at),
        "finished_at": maybe_iso(rollout.finished_at),
        "detail": rollout.detail,
        "figures": dict(rollout.figures),
    }
