"""Do intervals hold the truth as often as they say? On simulated logs, also of policies that learn meanwhile."""

import numpy as np
import pytest

from shared.domain import Doubles
from shared.evaluation.doubly_robust import effective_sample_size, importance_weights
from shared.evaluation.estimators import EstimatorName, estimate_all, possible_weight, value_bounds
from shared.evaluation.intervals import Interval, bernstein_interval, bootstrap_interval, clusters_of, normal_interval
from tests.simulator import SimulatedLog, World, simulate

LOGS = 500
NAMES: tuple[EstimatorName, ...] = ("ips", "snips", "dr", "switch_dr")
BERNSTEIN = ("ips bernstein", "dr bernstein", "switch_dr bernstein")
SMALL = World(rates=(0.2, 0.4, 0.6), contexts=2)
# name → world, rows, propensities, whether the policy learns: 2,000 logs together
SCENARIOS = {
    "skewed": (SMALL, 1700, (0.7, 0.2, 0.1), False),
    "learning": (SMALL, 2000, None, True),
    "clusters": (World(rates=(0.3, 0.4, 0.5), contexts=2, subjects=150, spread=0.1), 1500, None, False),
    "drifting": (World(rates=(0.05, 0.1, 0.15), drift=0.1), 1500, (0.5, 0.3, 0.2), False),
}


def logs_of(scenario: str, logs: int = LOGS) -> tuple[World, list[SimulatedLog]]:
    world, count, propensities, learns = SCENARIOS[scenario]
    return world, simulate(world, count, np.random.default_rng(7), logs, propensities, learns)


def target_of(world: World) -> Doubles:
    """[C, A]: mostly the third action, in each context."""
    return np.tile([0.1, 0.3, 0.6], (world.contexts, 1))


def test_intervals_cover_the_truth() -> None:
    covered = {scenario: coverage(scenario) for scenario in SCENARIOS}
    for name in (*NAMES, *BERNSTEIN):
        shares = [of[name] for of in covered.values()]
        # 500 logs of one kind: three standard deviations of a share of .95 are .03.
        assert min(shares) >= 0.92, (name, covered)
        assert (0.93 <= np.mean(shares) <= 0.98) if name in NAMES else np.mean(shares) >= 0.95, (name, covered)


def coverage(scenario: str) -> dict[str, float]:
    """The share of a scenario's logs whose interval holds the truth."""
    world, logs = logs_of(scenario)
    target_CA = target_of(world)
    truth, covered = world.truth(target_CA), dict.fromkeys((*NAMES, *BERNSTEIN), 0)
    for log in logs:
        target = target_CA[log.contexts]
        assert effective_sample_size(importance_weights(log.logged, target)) >= 300
        clusters = clusters_of(log.subjects)
        # Not quite what is true.
        estimates = 0.8 * world.rates_CA[log.contexts] + 0.1
        for name, found in estimate_all(NAMES, log.logged, target, estimates).items():
            covered[name] += holds(normal_interval(found, clusters), truth)
            bounds = value_bounds(name, (0.0, 1.0), possible_weight(log.logged, target))
            if bounds is not None:
                covered[f"{name} bernstein"] += holds(bernstein_interval(found.numerators, clusters, bounds), truth)
    return {name: count / LOGS for name, count in covered.items()}


def holds(interval: Interval, truth: float) -> bool:
    return interval.lower <= truth <= interval.upper


def test_bootstrap_covers_the_truth() -> None:
    world, logs = logs_of("clusters", 200)
    target_CA = target_of(world)
    generator, covered = np.random.default_rng(0), 0
    for log in logs:
        target = target_CA[log.contexts]
        found = estimate_all(["snips"], log.logged, target, target)["snips"]
        interval = bootstrap_interval(found, clusters_of(log.subjects), generator, resamples=300)
        covered += holds(interval, world.truth(target_CA))
    assert covered / 200 == pytest.approx(0.95, abs=0.045)


def test_as_if_rows_were_independent_clusters_are_missed() -> None:
    """Else the test of clusters would show nothing."""
    world = World(rates=(0.3, 0.4, 0.5), subjects=30, spread=0.15)
    target_CA, covered = target_of(world), 0
    for log in simulate(world, 1500, np.random.default_rng(3), 200):
        found = estimate_all(["snips"], log.logged, target_CA[log.contexts], target_CA[log.contexts])["snips"]
        covered += holds(normal_interval(found, np.arange(1500)), world.truth(target_CA))
    assert covered / 200 < 0.85


def test_with_a_right_model_doubly_robust_errs_less() -> None:
    world, logs = logs_of("skewed", 300)
    target_CA = target_of(world)
    truth = world.truth(target_CA)
    errors: dict[str, list[float]] = {"ips": [], "dr": []}
    for log in logs:
        found = estimate_all(["ips", "dr"], log.logged, target_CA[log.contexts], world.rates_CA[log.contexts])
        for name, one in found.items():
            errors[name].append((one.value - truth) ** 2)
    assert np.mean(errors["dr"]) < 0.8 * np.mean(errors["ips"])
