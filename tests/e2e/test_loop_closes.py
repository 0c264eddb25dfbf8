"""Decide, take feedback, learn, decide better: through the public API alone."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx
import numpy as np

from tests.e2e import product
from tests.e2e.conftest import Platform

LOOP = "digits"
MEMORY_MB = 3 * 1024


def test_reward_rises_as_versions_take_over_under_traffic(platform: Platform) -> None:
    stream = product.visits(1500)
    rewards: list[float] = []
    versions: list[str | None] = []
    with platform.client() as http, ThreadPoolExecutor(1) as trainer:
        product.put_loop(http, LOOP)
        for _ in range(3):
            for visit in islice(stream, 300):
                _visit(http, visit, rewards, versions)
            run = trainer.submit(product.fine_tune, http, LOOP)
            while not run.done():
                _visit(http, next(stream), rewards, versions)
            assert run.result()["status"] == "succeeded", run.result()
            newest = str(run.result()["model_version"])
            # The run has ended because its version serves: the very next decision is its own.
            _visit(http, next(stream), rewards, versions)
            assert versions[-1] == newest
        for visit in islice(stream, 150):
            _visit(http, visit, rewards, versions)
        counts = product.wait_for_experiences(http, LOOP, len(rewards))
        champion = http.get(f"/v1/loops/{LOOP}").json()["aliases"]["champion"]
    assert counts["decisions"] == counts["feedback"] == counts["experiences"] == len(rewards)
    assert counts["head_sequence"] == len(rewards)
    assert counts["dangling_feedback"] == 0
    assert champion == "4"
    assert {"1", "2", "3", "4"} <= set(versions)
    # Uniform earns .1; scikit-learn's logistic regression that is shown every label would earn .9.
    assert np.mean(rewards[:200]) < 0.2
    assert np.mean(rewards[-150:]) > 0.6
    memory = sum(process.memory_full_info().pss for process in platform.processes()) / 2**20
    assert memory < MEMORY_MB


def _visit(http: httpx.Client, visit: product.Visit, rewards: list[float], versions: list[str | None]) -> None:
    decision = product.decide(http, LOOP, visit)
    rewards.append(product.tell(http, LOOP, decision, visit))
    versions.append(decision["model_version"])
