"""A decision's reward from its feedback."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median
from typing import Final

import numpy as np

from shared.domain import Feedback
from shared.functional.rewards import multimodal_reward
from shared.loop_settings import LoopSettings

AGGREGATIONS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "earliest": lambda values: values[0],
    "sum": math.fsum,
    "average": fmean,
    "median": median,
    "min": min,
    "max": max,
}


def joined_reward(settings: LoopSettings, feedback: Iterable[Feedback]) -> float:
    """The weighted sum over metrics of their values, aggregated in order of receive time.

    A metric that did not come counts 0, and so does a text; the default reward only where no metric came.
    """
    aggregate = AGGREGATIONS[settings.reward_aggregation]
    values: dict[str, list[float]] = {metric: [] for metric in settings.reward.metrics}
    for event in sorted(feedback, key=receive_order):
        if event.metric in values:
            values[event.metric].append(0.0 if isinstance(event.value, str) else event.value)
    if not any(values.values()):
        return settings.default_reward
    rewards_BM = np.array([[aggregate(came) if came else 0.0 for came in values.values()]])
    weights_M = np.array([metric.weight for metric in settings.reward.metrics.values()])
    return float(multimodal_reward(rewards_BM, weights_M)[0])


def receive_order(feedback: Feedback) -> tuple[int, str]:
    """Sorts feedback by its time of receipt; events of the same microsecond by their id."""
    return feedback.received_at, feedback.feedback_id
