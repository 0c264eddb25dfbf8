"""An evaluation from logged rows to its figures, with what stands against trusting them.

Shapes: N logged decisions, A candidates of the longest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from shared.domain import Doubles
from shared.evaluation.doubly_robust import LoggedChoices, effective_sample_size, importance_weights, supported
from shared.evaluation.estimators import EstimatorName, Ratio, estimate_all, possible_weight, value_bounds
from shared.evaluation.intervals import (
    Interval,
    bernstein_interval,
    bootstrap_interval,
    clusters_of,
    normal_interval,
    standard_error,
)

LEAST_SAMPLE_SIZE: Final = 100.0
MOST_UNSUPPORTED: Final = 0.05
LEAST_CLUSTERS: Final = 30
# Of replay: by how much a logged distribution may differ from an even one.
UNEVEN: Final = 1e-6

Verdict = Literal["enough", "too_little", "unsupported"]


class Estimate(BaseModel):
    """A value in the reward's unit, with its 95 % intervals; null where one bounds nothing, or is not defined."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    standard_error: float | None
    normal: tuple[float, float] | None
    bootstrap: tuple[float, float] | None
    empirical_bernstein: tuple[float, float] | None


class EvaluationResult(BaseModel):
    """What an evaluation found.

    `rows` were matured, with a known propensity, and supported. `verdict` is about how much they tell, not about what.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    clusters: int
    unsupported_share: float
    without_propensity: int
    immature: int
    effective_sample_size: float
    max_weight: float
    verdict: Verdict
    warnings: list[str]
    logged: Estimate
    estimates: dict[EstimatorName, Estimate]


@dataclass(frozen=True, slots=True)
class EvaluationLog:
    """Rows in the order of their decisions; those left out already are only counted.

    `clusters` names each row's subject or episode; rows of one are not independent.
    """

    logged: LoggedChoices
    target: Doubles  # [N, A]
    expected: Doubles  # [N, A], what each candidate is expected to earn
    clusters: Sequence[str]
    candidates: NDArray[np.int64]  # [N], how many of each row were allowed
    without_propensity: int = 0
    immature: int = 0


def evaluate(
    log: EvaluationLog,
    estimators: Sequence[EstimatorName],
    reward_range: tuple[float, float],
    clip: float,
    generator: np.random.Generator,
) -> EvaluationResult:
    """The target's value by each estimator; one row at least is needed."""
    fits = supported(log.logged, log.target)
    logged, target, expected = log.logged.where(fits), log.target[fits], log.expected[fits]
    clusters = clusters_of(np.array(log.clusters)[fits])
    weights = importance_weights(logged, target)
    # A range that rewards do not keep bounds nothing.
    low, high = min([reward_range[0], *logged.rewards]), max([reward_range[1], *logged.rewards])
    most_weight = possible_weight(logged, target)
    # Nothing beyond what can come is worth expecting, and bounds need that it is not.
    expected = np.clip(expected, low, high)
    found = {}
    for name, ratio in estimate_all(estimators, logged, target, expected, clip).items():
        bounds = value_bounds(name, (low, high), min(clip, most_weight))
        found[name] = _estimate(ratio, clusters, bounds, generator)
    count, unsupported = len(weights), 1.0 - float(fits.mean())
    sample_size = effective_sample_size(weights)
    is_even = bool(np.all(np.abs(_chosen(logged) * log.candidates[fits] - 1) < UNEVEN))
    groups = int(clusters.max(initial=-1)) + 1
    as_logged = Ratio(logged.rewards, np.ones(count))
    return EvaluationResult(
        rows=count,
        clusters=groups,
        unsupported_share=unsupported,
        without_propensity=log.without_propensity,
        immature=log.immature,
        effective_sample_size=sample_size,
        max_weight=float(weights.max(initial=0.0)),
        verdict=_verdict(unsupported, sample_size),
        warnings=[*_warnings(unsupported, sample_size, groups), *_of_estimators(estimators, is_even)],
        logged=_estimate(as_logged, clusters, (low, high), generator),
        estimates=found,
    )


def _verdict(unsupported: float, sample_size: float) -> Verdict:
    if unsupported > MOST_UNSUPPORTED:
        return "unsupported"
    return "enough" if sample_size >= LEAST_SAMPLE_SIZE else "too_little"


def _warnings(unsupported: float, sample_size: float, clusters: int) -> list[str]:
    found = []
    if unsupported > MOST_UNSUPPORTED:
        found.append(
            f"{unsupported:.1%} of the rows could not have logged what the target may choose: no verdict, since the "
            "others may not be like them."
        )
    if sample_size < LEAST_SAMPLE_SIZE:
        found.append(
            f"Too little: the rows are worth {sample_size:.0f} of the target's own, and below {LEAST_SAMPLE_SIZE:.0f} "
            "neither values nor intervals can be relied on."
        )
    if clusters < LEAST_CLUSTERS:
        found.append(f"The rows are of {clusters} subjects or episodes only: intervals are too narrow.")
    return found


def _of_estimators(estimators: Sequence[EstimatorName], is_even: bool) -> list[str]:
    found = []
    if "dm" in estimators:
        found.append("dm: its intervals leave out what its expected rewards get wrong.")
    if "replay" in estimators and not is_even:
        found.append("replay: biased here, for the log did not draw evenly from the candidates.")
    return found


def _estimate(
    ratio: Ratio, clusters: NDArray[np.int64], bounds: tuple[float, float] | None, generator: np.random.Generator
) -> Estimate:
    error = standard_error(ratio, clusters)
    if not math.isfinite(error):
        value = ratio.value if math.isfinite(ratio.value) else None
        return Estimate(value=value, standard_error=None, normal=None, bootstrap=None, empirical_bernstein=None)
    bernstein = None if bounds is None else bernstein_interval(ratio.numerators, clusters, bounds)
    return Estimate(
        value=ratio.value,
        standard_error=error,
        normal=_pair(normal_interval(ratio, clusters)),
        bootstrap=_pair(bootstrap_interval(ratio, clusters, generator)),
        empirical_bernstein=None if bernstein is None else _pair(bernstein),
    )


def _pair(interval: Interval) -> tuple[float, float]:
    return interval.lower, interval.upper


def _chosen(logged: LoggedChoices) -> Doubles:
    chosen_N: Doubles = np.take_along_axis(logged.probabilities, logged.taken[:, None], axis=1)[:, 0]
    return chosen_N
