"""The only converter between protobuf messages and domain objects; tensors are numpy arrays on both sides."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared import domain
from shared.pb.context.v1 import context_pb2
from shared.pb.events.v1 import events_pb2
from shared.pb.serving.v1 import serving_pb2
from shared.pb.tensor.v1 import tensor_pb2
from shared.rollouts import ShadowScored

DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "float64", "int64", "bool")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class WireError(ValueError):
    """A message that does not hold what its contract promises; the text says which part."""


def tensor_to_pb(array: NDArray[np.generic]) -> tensor_pb2.Tensor:
    """An array of dtype float32, float64, int64 or bool, any shape."""
    message = tensor_pb2.Tensor()
    _fill(message, array)
    return message


def _fill(message: tensor_pb2.Tensor, array: NDArray[np.generic]) -> None:
    """On the path of every decision, many times: hence one look-up, and no message between."""
    name = NAMES.get(array.dtype)
    if name is None:
        little = array.dtype.newbyteorder("<")
        if little not in NAMES:
            raise WireError(f"a tensor cannot be {array.dtype.name}: one of {', '.join(DTYPES)}")
        name, array = NAMES[little], array.astype(little)
    message.data = array.tobytes()
    message.dtype = name
    message.shape.extend(array.shape)


def tensor_from_pb(message: tensor_pb2.Tensor, dtype: str, dimensions: int) -> NDArray[np.generic]:
    """The array of a message (read-only, no copy), held against the expected dtype and number of dimensions."""
    if message.dtype != dtype:
        raise WireError(f"tensor is {message.dtype or 'absent'}, expected {dtype}")
    shape = tuple(message.shape)
    if len(shape) != dimensions or min(shape, default=0) < 0:
        raise WireError(f"tensor has shape {list(shape)}, expected {dimensions} dimensions")
    # Python's integers: a product that overflows must not look small.
    if len(message.data) != math.prod(shape) * DTYPES[dtype].itemsize:
        raise WireError(f"tensor of shape {list(shape)} holds {len(message.data)} bytes")
    try:
        return np.frombuffer(message.data, DTYPES[dtype]).reshape(shape)
    except ValueError as error:
        raise WireError(f"tensor cannot have shape {list(shape)}") from error


def floats_from_pb(message: tensor_pb2.Tensor, dimensions: int) -> domain.Floats:
    """A float32 tensor."""
    return tensor_from_pb(message, "float32", dimensions).astype(np.float32, copy=False)


def doubles_from_pb(message: tensor_pb2.Tensor, dimensions: int = 1) -> domain.Doubles:
    """A float64 tensor."""
    return tensor_from_pb(message, "float64", dimensions).astype(np.float64, copy=False)


def model_ref_to_pb(ref: domain.ModelRef) -> serving_pb2.ModelRef:
    return serving_pb2.ModelRef(tenant=ref.tenant, loop_id=ref.loop_id, version=ref.version)


def model_ref_from_pb(message: serving_pb2.ModelRef) -> domain.ModelRef:
    return domain.ModelRef(message.tenant, message.loop_id, message.version)


def table_to_pb(table: domain.Table) -> context_pb2.Table:
    message = context_pb2.Table()
    for name, value in table.items():
        field = message.fields[name]
        if isinstance(value, bool):
            field.flag = value
        elif isinstance(value, str):
            field.category = value
        else:
            field.number = value
    return message


def table_from_pb(message: context_pb2.Table) -> dict[str, float | str | bool]:
    return {name: _field_from_pb(field) for name, field in sorted(message.fields.items())}


def _field_from_pb(field: context_pb2.Field) -> float | str | bool:
    match field.WhichOneof("value"):
        case "number":
            return field.number
        case "category":
            return field.category
        case "flag":
            return field.flag
    raise WireError("a table's field has no value")


def media_to_pb(media: domain.Media) -> context_pb2.Media:
    return context_pb2.Media(content_type=media.content_type, sha256=media.sha256, data=media.data)


def media_from_pb(message: context_pb2.Media) -> domain.Media:
    return domain.Media(message.content_type, message.sha256, message.data if message.HasField("data") else None)


def context_to_pb(context: domain.Context) -> context_pb2.Context:
    message = context_pb2.Context()
    for name, value in context.items():
        slot = message.values[name]
        if isinstance(value, str):
            slot.text = value
        elif isinstance(value, domain.Media):
            slot.media.CopyFrom(media_to_pb(value))
        elif isinstance(value, np.ndarray):
            _fill(slot.embedding, value)
        else:
            slot.table.CopyFrom(table_to_pb(value))
    return message


def context_from_pb(message: context_pb2.Context) -> dict[str, domain.ContextValue]:
    return {name: _context_value_from_pb(value) for name, value in sorted(message.values.items())}


def _context_value_from_pb(value: context_pb2.ContextValue) -> domain.ContextValue:
    match value.WhichOneof("value"):
        case "text":
            return value.text
        case "media":
            return media_from_pb(value.media)
        case "table":
            return table_from_pb(value.table)
        case "embedding":
            return floats_from_pb(value.embedding, 1)
    raise WireError("a context value is empty")


def action_to_pb(action: domain.Action) -> context_pb2.Action:
    features = None if action.features is None else table_to_pb(action.features)
    return context_pb2.Action(id=action.id, features=features)


def action_from_pb(message: context_pb2.Action) -> domain.Action:
    return domain.Action(message.id, table_from_pb(message.features) if message.HasField("features") else None)


def logged_action(action: domain.Action) -> bytes:
    """A serialised DecisionMade that holds this action alone; serialised messages in a row are read as their merge."""
    if action.logged is not None:
        return action.logged
    return events_pb2.DecisionMade(actions=[action_to_pb(action)]).SerializeToString(deterministic=True)


def actions_from_pb(messages: Sequence[context_pb2.Action]) -> list[domain.Action]:
    return [action_from_pb(message) for message in messages]


def decision_to_pb(decision: domain.Decision) -> events_pb2.DecisionMade:
    message = _without_actions(decision)
    message.actions.extend(map(action_to_pb, decision.actions))
    return message


def decision_bytes(decision: domain.Decision) -> bytes:
    """A serialised DecisionMade; its actions stand behind all else."""
    rest = _without_actions(decision).SerializeToString(deterministic=True)
    return b"".join([rest, *map(logged_action, decision.actions)])


def _without_actions(decision: domain.Decision) -> events_pb2.DecisionMade:
    scores = decision.scores
    return events_pb2.DecisionMade(
        tenant=decision.tenant,
        loop_id=decision.loop_id,
        decision_id=decision.decision_id,
        decided_at=decision.decided_at,
        context=context_to_pb(decision.context),
        excluded_action_ids=decision.excluded_action_ids,
        baseline_action_id=decision.baseline_action_id,
        episode_id=decision.episode_id,
        previous_decision_id=decision.previous_decision_id,
        subject_id=decision.subject_id,
        deferred=decision.deferred,
        settings_revision=decision.settings_revision,
        model_version=decision.model_version,
        head_sequence=decision.head_sequence,
        state=None if decision.state is None else tensor_to_pb(decision.state),
        expected_rewards=None if scores is None else tensor_to_pb(scores.expected_rewards),
        variances=None if scores is None else tensor_to_pb(scores.variances),
        outcome_variances=None if scores is None else tensor_to_pb(scores.outcome_variances),
        probabilities=tensor_to_pb(decision.probabilities),
        seed=decision.seed,
        action_id=decision.action_id,
        probability=decision.probability,
        fallback_reason=decision.fallback_reason,
        modalities_used=decision.modalities_used,
        modalities_missing=decision.modalities_missing,
        request_sha256=decision.request_sha256,
        modality_importance=decision.modality_importance,
        policy_logits=None if scores is None or scores.policy_logits is None else tensor_to_pb(scores.policy_logits),
        arm=decision.arm,
        arm_share=decision.arm_share if decision.arm else None,
        assigned_version=decision.assigned_version,
        rollout_id=decision.rollout_id,
        rollout_step=decision.rollout_step,
        decided_in=decision.decided_in,
    )


def decision_from_pb(message: events_pb2.DecisionMade) -> domain.Decision:
    return domain.Decision(
        tenant=message.tenant,
        loop_id=message.loop_id,
        decision_id=message.decision_id,
        decided_at=message.decided_at,
        context=context_from_pb(message.context),
        actions=actions_from_pb(message.actions),
        action_id=message.action_id,
        probability=message.probability,
        probabilities=doubles_from_pb(message.probabilities),
        seed=message.seed,
        settings_revision=message.settings_revision,
        request_sha256=message.request_sha256,
        model_version=message.model_version if message.HasField("model_version") else None,
        head_sequence=message.head_sequence,
        state=floats_from_pb(message.state, 1) if message.HasField("state") else None,
        scores=_scores_from_pb(message),
        fallback_reason=message.fallback_reason if message.HasField("fallback_reason") else None,
        modalities_used=list(message.modalities_used),
        modalities_missing=list(message.modalities_missing),
        excluded_action_ids=list(message.excluded_action_ids),
        baseline_action_id=message.baseline_action_id if message.HasField("baseline_action_id") else None,
        episode_id=message.episode_id if message.HasField("episode_id") else None,
        previous_decision_id=message.previous_decision_id if message.HasField("previous_decision_id") else None,
        subject_id=message.subject_id if message.HasField("subject_id") else None,
        deferred=message.deferred,
        modality_importance=dict(message.modality_importance) or None,
        arm=message.arm or None,
        arm_share=message.arm_share if message.arm else 1.0,
        assigned_version=message.assigned_version if message.HasField("assigned_version") else None,
        rollout_id=message.rollout_id if message.HasField("rollout_id") else None,
        rollout_step=message.rollout_step if message.HasField("rollout_id") else None,
        decided_in=message.decided_in,
    )


def expected_reward(message: events_pb2.DecisionMade, action_id: str) -> float | None:
    """What was expected of an action; None where no model version decided, or the action was no candidate."""
    ids = [action.id for action in message.actions]
    if not message.HasField("expected_rewards") or action_id not in ids:
        return None
    return float(doubles_from_pb(message.expected_rewards)[ids.index(action_id)])


def _scores_from_pb(message: events_pb2.DecisionMade) -> domain.Scores | None:
    if not message.HasField("expected_rewards"):
        return None
    return domain.Scores(
        expected_rewards=doubles_from_pb(message.expected_rewards),
        variances=doubles_from_pb(message.variances),
        outcome_variances=doubles_from_pb(message.outcome_variances),
        policy_logits=doubles_from_pb(message.policy_logits) if message.HasField("policy_logits") else None,
    )


def activation_to_pb(activation: domain.Activation) -> events_pb2.DecisionActivated:
    return events_pb2.DecisionActivated(
        tenant=activation.tenant,
        loop_id=activation.loop_id,
        decision_id=activation.decision_id,
        activated_at=activation.activated_at,
        served_action_id=activation.served_action_id,
    )


def activation_from_pb(message: events_pb2.DecisionActivated) -> domain.Activation:
    served = message.served_action_id if message.HasField("served_action_id") else None
    return domain.Activation(message.tenant, message.loop_id, message.decision_id, message.activated_at, served)


def feedback_to_pb(feedback: domain.Feedback) -> events_pb2.FeedbackReceived:
    message = events_pb2.FeedbackReceived(
        tenant=feedback.tenant,
        loop_id=feedback.loop_id,
        feedback_id=feedback.feedback_id,
        decision_id=feedback.decision_id,
        metric=feedback.metric,
        received_at=feedback.received_at,
        occurred_at=feedback.occurred_at,
    )
    if isinstance(feedback.value, str):
        message.text = feedback.value
    else:
        message.number = feedback.value
    return message


def feedback_from_pb(message: events_pb2.FeedbackReceived) -> domain.Feedback:
    return domain.Feedback(
        tenant=message.tenant,
        loop_id=message.loop_id,
        feedback_id=message.feedback_id,
        decision_id=message.decision_id,
        metric=message.metric,
        value=message.text if message.WhichOneof("value") == "text" else message.number,
        received_at=message.received_at,
        occurred_at=message.occurred_at if message.HasField("occurred_at") else None,
    )


def episode_end_to_pb(end: domain.EpisodeEnd) -> events_pb2.EpisodeEnded:
    return events_pb2.EpisodeEnded(
        tenant=end.tenant,
        loop_id=end.loop_id,
        episode_id=end.episode_id,
        decision_id=end.decision_id,
        end=end.end,
        ended_at=end.ended_at,
    )


def episode_end_from_pb(message: events_pb2.EpisodeEnded) -> domain.EpisodeEnd:
    end = _end_from_pb(message.end)
    return domain.EpisodeEnd(
        message.tenant, message.loop_id, message.episode_id, message.decision_id, end, message.ended_at
    )


def _end_from_pb(end: str) -> domain.End:
    match end:
        case "terminated" | "truncated":
            return end
    raise WireError(f"an episode cannot be {end!r}")


def imported_to_pb(imported: domain.ImportedExperience) -> events_pb2.ExperienceImported:
    return events_pb2.ExperienceImported(
        decision=decision_to_pb(imported.decision),
        feedback=map(feedback_to_pb, imported.feedback),
        reward=imported.reward,
        end=imported.end,
    )


def imported_from_pb(message: events_pb2.ExperienceImported) -> domain.ImportedExperience:
    return domain.ImportedExperience(
        decision=decision_from_pb(message.decision),
        feedback=[feedback_from_pb(event) for event in message.feedback],
        reward=message.reward if message.HasField("reward") else None,
        end=_end_from_pb(message.end) if message.HasField("end") else None,
    )


def imported_decision(payload: bytes) -> bytes:
    """The decision in a serialised ExperienceImported, serialised itself: as if it alone had been logged."""
    return events_pb2.ExperienceImported.FromString(payload).decision.SerializeToString()


def experience_to_pb(experience: domain.Experience) -> events_pb2.ExperienceJoined:
    return events_pb2.ExperienceJoined(
        tenant=experience.tenant,
        loop_id=experience.loop_id,
        sequence=experience.sequence,
        decision_id=experience.decision_id,
        decided_at=experience.decided_at,
        action_id=experience.action_id,
        probability=experience.probability,
        reward=experience.reward,
        model_version=experience.model_version,
        state=None if experience.state is None else tensor_to_pb(experience.state),
        action_embedding=None if experience.action_embedding is None else tensor_to_pb(experience.action_embedding),
        restates_sequence=experience.restates_sequence,
        previous_reward=experience.previous_reward,
    )


def experience_from_pb(message: events_pb2.ExperienceJoined) -> domain.Experience:
    return domain.Experience(
        tenant=message.tenant,
        loop_id=message.loop_id,
        sequence=message.sequence,
        decision_id=message.decision_id,
        decided_at=message.decided_at,
        action_id=message.action_id,
        probability=message.probability if message.HasField("probability") else None,
        reward=message.reward,
        model_version=message.model_version if message.HasField("model_version") else None,
        state=floats_from_pb(message.state, 1) if message.HasField("state") else None,
        action_embedding=floats_from_pb(message.action_embedding, 1) if message.HasField("action_embedding") else None,
        restates_sequence=message.restates_sequence if message.HasField("restates_sequence") else None,
        previous_reward=message.previous_reward if message.HasField("previous_reward") else None,
    )


def shadow_to_pb(scored: ShadowScored) -> events_pb2.ShadowScored:
    return events_pb2.ShadowScored(
        tenant=scored.tenant,
        loop_id=scored.loop_id,
        decision_id=scored.decision_id,
        rollout_id=scored.rollout_id,
        model_version=scored.model_version,
        scored_at=scored.scored_at,
        head_sequence=scored.head_sequence,
        probabilities=None if scored.probabilities is None else tensor_to_pb(scored.probabilities),
        expected_rewards=None if scored.expected_rewards is None else tensor_to_pb(scored.expected_rewards),
    )


def shadow_from_pb(message: events_pb2.ShadowScored) -> ShadowScored:
    return ShadowScored(
        tenant=message.tenant,
        loop_id=message.loop_id,
        decision_id=message.decision_id,
        rollout_id=message.rollout_id,
        model_version=message.model_version,
        scored_at=message.scored_at,
        head_sequence=message.head_sequence,
        probabilities=doubles_from_pb(message.probabilities) if message.HasField("probabilities") else None,
        expected_rewards=doubles_from_pb(message.expected_rewards) if message.HasField("expected_rewards") else None,
    )
