"""Decisions and experiences of the database as the API gives them."""

import base64
from collections.abc import Callable

import numpy as np

from services.gateway.answers import DecisionSummary, ExperienceAnswer
from services.gateway.media import TEXT
from services.gateway.moments import iso, maybe_iso
from services.gateway.ranking import answer_members
from shared.db import decisions
from shared.db.decisions import StoredDecision, StoredExperience, StoredFeedback
from shared.domain import ContextValue, Media
from shared.loop_settings import LoopSettings
from shared.registry.artifacts import ArtifactError
from shared.rewards import joined_reward, values_that_count

ReadArtifact = Callable[[str], bytes]


def detail_of(stored: StoredDecision, settings: LoopSettings, read_artifact: ReadArtifact) -> dict[str, object]:
    """The decision with its context and everything that came of it; reads large values from the artifact store."""
    decision, experience = stored.decision, stored.experience
    return answer_members(decision) | {
        "decided_at": iso(decision.decided_at),
        "settings_revision": decision.settings_revision,
        "head_sequence": decision.head_sequence,
        "context": {name: _value(value, read_artifact) for name, value in decision.context.items()},
        "excluded_action_ids": decision.excluded_action_ids,
        "baseline_action_id": decision.baseline_action_id,
        "episode_id": decision.episode_id,
        "previous_decision_id": decision.previous_decision_id,
        "subject_id": decision.subject_id,
        "deferred": decision.deferred,
        "activated_at": maybe_iso(stored.activated_at),
        "served_action_id": stored.served_action_id,
        "closes_at": maybe_iso(stored.closes_at),
        "feedback": [_feedback(event) for event in stored.feedback],
        "reward": _reward_so_far(stored, settings) if experience is None else experience.experience.reward,
        "sequence": None if experience is None else experience.experience.sequence,
    }


def summary_of(row: decisions.DecisionSummary) -> DecisionSummary:
    return DecisionSummary(
        decision_id=row.decision_id,
        decided_at=iso(row.decided_at),
        action_id=row.action_id,
        probability=row.probability,
        model_version=version_name(row.model_version),
        fallback_reason=row.fallback_reason,
        deferred=row.deferred,
        activated_at=maybe_iso(row.activated_at),
        served_action_id=row.served_action_id,
        reward=row.reward,
    )


def experience_of(row: StoredExperience) -> ExperienceAnswer:
    experience = row.experience
    return ExperienceAnswer(
        sequence=experience.sequence,
        revision=row.revision,
        restates_sequence=experience.restates_sequence,
        decision_id=experience.decision_id,
        decided_at=iso(experience.decided_at),
        closed_at=iso(row.closed_at),
        closed_by=row.closed_by,
        action_id=experience.action_id,
        probability=experience.probability,
        reward=experience.reward,
        model_version=version_name(experience.model_version),
    )


def version_name(version: int | None) -> str | None:
    """A model version's number as the API writes it."""
    return None if version is None else str(version)


def _reward_so_far(stored: StoredDecision, settings: LoopSettings) -> float | None:
    """What the feedback of an open window comes to, as the joiner would count it now; None where nothing counts yet."""
    came = [one.feedback for one in stored.feedback if not one.late]
    if not any(values_that_count(settings.reward, came, stored.decision).values()):
        return None
    return joined_reward(settings, came, stored.decision, stored.served_action_id)


def _feedback(stored: StoredFeedback) -> dict[str, object]:
    event = stored.feedback
    return {
        "feedback_id": event.feedback_id,
        "metric": event.metric,
        "value": event.value,
        "received_at": iso(event.received_at),
        "occurred_at": maybe_iso(event.occurred_at),
        "late": stored.late,
    }


def _value(value: ContextValue, read_artifact: ReadArtifact) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not isinstance(value, Media):
        return value
    try:
        data = read_artifact(value.sha256) if value.data is None else value.data
    except ArtifactError:
        return {"content_type": value.content_type, "media_id": value.sha256}
    if value.content_type == TEXT:
        return data.decode()
    return {"content_type": value.content_type, "data": base64.b64encode(data).decode()}
