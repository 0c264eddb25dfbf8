"""A decision's reward from its feedback: what the joiner writes, and what an open window shows so far."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median
from typing import Final

import numpy as np

from shared.domain import Decision, Feedback
from shared.functional.rewards import captioning_reward, multimodal_reward
from shared.loop_settings import CaptioningSettings, LoopSettings, MetricSettings, RewardSettings

AGGREGATIONS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "earliest": lambda values: values[0],
    "sum": math.fsum,
    "average": fmean,
    "median": median,
    "min": min,
    "max": max,
}
NO_DECISION: Final = "this reward reads the decision"

# Metric → its values that count, in order of receive time.
Values = dict[str, list[float | str]]


def joined_reward(
    settings: LoopSettings,
    feedback: Iterable[Feedback],
    decision: Decision | None = None,
    served_action_id: str | None = None,
) -> float:
    """Equation 10 over metrics: Σ w_m R_m; the default reward where no value came that counts.

    R_m is the aggregate of a metric's values, or the scorer's verdict on its texts; 0 where none came. A metric whose
    modality was missing in the decision's context is left out, and the other weights stay as they are: what a click is
    worth must not depend on whether there was a picture to judge as well.

    Args:
        decision: may be left out where `reads_decision` is False.
        served_action_id: the action that was shown, where it was not the drawn one.
    """
    values = values_that_count(settings.reward, feedback, decision)
    if not any(values.values()):
        return settings.default_reward
    metrics = settings.reward.metrics
    amounts = [_amount(settings, metrics[name], came, decision, served_action_id) for name, came in values.items()]
    weights_M = np.array([metrics[name].weight for name in values])
    return float(multimodal_reward(np.array([amounts]), weights_M)[0])


def has_all(reward: RewardSettings, feedback: Iterable[Feedback], decision: Decision | None) -> bool:
    """Whether a value has come for every metric that counts for the decision; False where none counts."""
    values = values_that_count(reward, feedback, decision)
    return bool(values) and all(values.values())


def values_that_count(reward: RewardSettings, feedback: Iterable[Feedback], decision: Decision | None) -> Values:
    """The values of each metric that counts for the decision.

    A text for a metric without a scorer does not count, nor does a number for one with a scorer: the metric was
    another one when it was taken.
    """
    values: Values = {name: [] for name, metric in reward.metrics.items() if _is_measured(metric, decision)}
    for event in sorted(feedback, key=receive_order):
        metric = reward.metrics.get(event.metric)
        if event.metric in values and metric is not None and metric.takes_texts == isinstance(event.value, str):
            values[event.metric].append(event.value)
    return values


def reads_decision(reward: RewardSettings) -> bool:
    """Whether the reward depends on more of a decision than its feedback: its caption, or its modalities."""
    return any(metric.modality is not None or metric.takes_texts for metric in reward.metrics.values())


def same_rewards(before: LoopSettings, after: LoopSettings) -> bool:
    """Whether the same feedback comes to the same reward under both; the reward's range does not matter."""
    return (before.reward.metrics, before.default_reward, before.reward_aggregation, before.late_feedback) == (
        after.reward.metrics,
        after.default_reward,
        after.reward_aggregation,
        after.late_feedback,
    )


def receive_order(feedback: Feedback) -> tuple[int, str]:
    """Sorts feedback by its time of receipt; events of the same microsecond by their id."""
    return feedback.received_at, feedback.feedback_id


def _is_measured(metric: MetricSettings, decision: Decision | None) -> bool:
    if metric.modality is None:
        return True
    assert decision is not None, NO_DECISION
    return metric.modality in decision.context


def _amount(
    settings: LoopSettings,
    metric: MetricSettings,
    values: Sequence[float | str],
    decision: Decision | None,
    served_action_id: str | None,
) -> float:
    """R_m; 0 where nothing came."""
    if not values:
        return 0.0
    if metric.scorer is None:
        return AGGREGATIONS[settings.reward_aggregation]([float(value) for value in values])
    assert decision is not None, NO_DECISION
    scorer, references = metric.scorer, [str(value) for value in values]
    caption = _caption(scorer, decision, served_action_id or decision.action_id)
    return captioning_reward(caption, references, scorer.alpha, scorer.beta, scorer.gamma)


def _caption(scorer: CaptioningSettings, decision: Decision, action_id: str) -> str:
    """What the served action says: its feature of the scorer's name, or its id where it has no such text."""
    features = next((action.features for action in decision.actions if action.id == action_id), None)
    text = (features or {}).get(scorer.caption_feature)
    return text if isinstance(text, str) else action_id
