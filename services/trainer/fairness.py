"""Are segments treated alike? Selection rates and rewards by segment, by fairlearn, with intervals by scipy.

Importing this takes pandas and scikit-learn into memory: only a loop that names segments pays for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from fairlearn.metrics import MetricFrame, mean_prediction, selection_rate
from scipy.stats import binomtest

from shared.db.statistics import Z_95
from shared.loop_report import Estimate, Fairness, SegmentFigures

MOST_ACTIONS: Final = 20


def fairness_of(
    segments: Sequence[str | None], action_ids: Sequence[str], rewards: Sequence[float], min_decisions: int
) -> Fairness:
    """Of decisions, one entry each; a segment of None is one without the field."""
    counts = Counter(segment for segment in segments if segment is not None)
    told = {segment: count for segment, count in counts.most_common() if count >= min_decisions}
    rows = [index for index, segment in enumerate(segments) if segment in told]
    left_out = len(segments) - len(rows)
    if not rows:
        return Fairness(segments={}, left_out=left_out, demographic_parity_difference=None, reward_difference=None)
    actions_N, of_N = np.array(action_ids)[rows], np.array([str(segments[row]) for row in rows])
    rewards_N = np.array(rewards, np.float64)[rows]
    frequent = [action for action, _ in Counter(actions_N.tolist()).most_common(MOST_ACTIONS)]
    rates = MetricFrame(
        metrics={action: partial(selection_rate, pos_label=action) for action in frequent},
        y_true=actions_N,
        y_pred=actions_N,
        sensitive_features=of_N,
    )
    earned = MetricFrame(
        metrics={"mean": mean_prediction, "half": _half}, y_true=rewards_N, y_pred=rewards_N, sensitive_features=of_N
    )
    by_segment, rewards_by_segment = rates.by_group.to_dict("index"), earned.by_group.to_dict("index")
    several = len(told) > 1
    return Fairness(
        segments={
            segment: _figures(count, by_segment[segment], rewards_by_segment[segment])
            for segment, count in told.items()
        },
        left_out=left_out,
        demographic_parity_difference=rates.difference().to_dict() if several else None,
        reward_difference=float(earned.difference()["mean"]) if several else None,
    )


def _figures(count: int, rates: Mapping[str, float], reward: Mapping[str, float]) -> SegmentFigures:
    mean, half = float(reward["mean"]), float(reward["half"])
    return SegmentFigures(
        decisions=count,
        selection_rates={action: _rate(float(rate), count) for action, rate in rates.items()},
        reward=Estimate(value=mean, interval=(mean - half, mean + half)),
    )


def _rate(rate: float, count: int) -> Estimate:
    """With Wilson's interval, which stays inside [0, 1] and is not empty at either end."""
    interval = binomtest(round(rate * count), count).proportion_ci(method="wilson")
    return Estimate(value=rate, interval=(float(interval.low), float(interval.high)))


def _half(_: object, rewards: Sequence[float]) -> float:
    """Half of the normal interval of the mean of two rewards at least."""
    values = np.asarray(rewards, np.float64)
    return float(Z_95 * values.std(ddof=1) / len(values) ** 0.5)
