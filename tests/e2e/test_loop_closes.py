"""Decide, take feedback, learn, decide better: through the public API alone."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import httpx
import numpy as np

from tests.e2e import product
from tests.e2e.conftest import Platform, until

LOOP = "closing"
VERSIONS = 3
MEMORY_MB = 3 * 1024


def test_reward_rises_as_versions_take_over_under_traffic(shared_platform: Platform) -> None:
    stream = product.visits()
    rewards: list[float] = []
    versions: list[str | None] = []
    took_over: list[str] = []
    with shared_platform.client() as http, ThreadPoolExecutor(1) as trainer:
        product.put_loop(http, LOOP)
        while len(took_over) < VERSIONS:
            _visit(http, islice(stream, 200), rewards, versions)
            run = trainer.submit(product.fine_tune, http, LOOP)
            while not run.done():
                _visit(http, islice(stream, 1), rewards, versions)
                time.sleep(0.05)
            assert run.result()["status"] in {"succeeded", "skipped"}, run.result()
            if run.result()["status"] == "succeeded":
                # The run has ended because its version serves: the very next decision is its own.
                took_over.append(str(run.result()["model_version"]))
                _visit(http, islice(stream, 1), rewards, versions)
                assert versions[-1] == took_over[-1]
        _visit(http, islice(stream, 200), rewards, versions)
        counts = product.wait_for_experiences(http, LOOP, len(rewards))
        champion = http.get(f"/v1/loops/{LOOP}").json()["aliases"]["champion"]
        until(lambda: product.statistics(http, LOOP)["head_sequence"] == len(rewards), "the head has learned all")
    assert counts["decisions"] == counts["feedback"] == counts["experiences"] == len(rewards)
    assert counts["dangling_feedback"] == 0
    assert champion == took_over[-1]
    assert {"1", *took_over} == set(versions)
    # Uniform earns .1; scikit-learn's logistic regression that is shown every label would earn .9.
    assert np.mean(rewards[:50]) < 0.4
    assert np.mean(rewards[-200:]) > 0.7
    memory = sum(process.memory_full_info().pss for process in shared_platform.processes()) / 2**20
    assert memory < MEMORY_MB


def _visit(
    http: httpx.Client, visits: Iterable[product.Visit], rewards: list[float], versions: list[str | None]
) -> None:
    for visit in visits:
        decision = product.decide(http, LOOP, visit)
        assert decision["fallback_reason"] is None
        rewards.append(product.tell(http, LOOP, decision, visit))
        versions.append(decision["model_version"])
