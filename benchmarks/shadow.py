"""What a shadow version costs decisions: rates without it and with it, in turn, on one platform.

The decision is that of `benchmarks.decide`, from 64 connections. Joiner, trainer and dashboard pause: what is compared
is the request path. Each run with the shadow must have scored contexts, or it would have measured nothing.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from benchmarks.decide import MODALITIES, Target, drive, platform_body, require_wrk, split
from benchmarks.measured import machine
from benchmarks.serving import paused, served_platform, wait_for_version, wait_until

LOOP: Final = "shadowed"
CONNECTIONS: Final = 64
EXPERIENCES: Final = 60
SCORED: Final = re.compile(r'^rewardloop_gateway_shadowed_contexts_total\{outcome="scored"\} (\S+)', re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="of a run without and a run with the shadow")
    parser.add_argument("--seconds", type=int, default=5, help="of one run")
    parser.add_argument("--co-located", action="store_true", help="the three model services in one process")
    options = parser.parse_args()
    require_wrk()
    apart = {"REWARDLOOP_SEPARATE_MODEL_SERVICES": str(not options.co_located).lower()}
    with tempfile.TemporaryDirectory() as home, served_platform(Path(home), **apart) as (url, key, process):
        body = json.dumps(platform_body()).encode()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
            make_two_versions(http, body)
            decides, others = split(process)
            target = Target(f"{url}/v1/loops/{LOOP}/decisions", body, decides, key)
            with paused(others):
                pairs = [measure(http, target, options.seconds, number) for number in range(options.pairs)]
    without, with_it, contexts = zip(*pairs, strict=True)
    cost = 1 - sum(with_it) / sum(without)
    error = statistics.stdev(one / other for other, one in zip(without, with_it, strict=True)) / len(pairs) ** 0.5
    print(f"{statistics.fmean(without):.0f} decisions a second alone, {statistics.fmean(with_it):.0f} with a shadow")
    print(f"cost {cost:.1%}, standard error {error:.1%}; {statistics.fmean(contexts):.0f} contexts a second scored")
    print("SHADOW", json.dumps({"machine": machine(), "cost": cost, "pairs": pairs}))


def make_two_versions(http: httpx.Client, body: bytes) -> None:
    """A loop whose version 2 decides, and whose version 1 can be rolled out."""
    loop = f"/v1/loops/{LOOP}"
    settings = {"modalities": MODALITIES, "reward_wait_time": "PT1S", "learning": {"max_steps": 20}}
    http.put(loop, json=settings).raise_for_status()
    wait_for_version(http, f"{loop}/decisions", body)
    for _ in range(EXPERIENCES):
        decision_id = http.post(f"{loop}/decisions", content=body).raise_for_status().json()["decision_id"]
        event = {"decision_id": decision_id, "metric": "reward", "value": 1.0}
        http.post(f"{loop}/feedback", json=event).raise_for_status()
    wait_until(lambda: http.get(f"{loop}/statistics").json()["experiences"] >= EXPERIENCES, "the feedback is joined")
    run = http.post(f"{loop}/training-runs", json={}).raise_for_status().json()["training_run_id"]
    wait_until(
        lambda: http.get(f"{loop}/training-runs/{run}").json()["status"] == "succeeded", "a fine-tune has succeeded"
    )
    wait_until(lambda: http.get(loop).json()["aliases"]["champion"] == "2", "its version is the champion")
    wait_for_version(http, f"{loop}/decisions", body)


def measure(http: httpx.Client, target: Target, seconds: int, number: int) -> tuple[float, float, float]:
    """Decisions a second without the shadow and with it, and contexts a second that it scored."""

    def rate() -> float:
        return drive(target, [CONNECTIONS], seconds)[CONNECTIONS]["rate"]

    without = rate() if number % 2 == 0 else None
    with shadowing(http):
        before = scored(http)
        with_it = rate()
        contexts = scored(http) - before
    if contexts == 0:
        sys.exit("the shadow scored nothing, so nothing was measured")
    return rate() if without is None else without, with_it, contexts / seconds


@contextmanager
def shadowing(http: httpx.Client) -> Iterator[None]:
    """Version 1 scores along; at the end it no longer does."""
    rollouts, before = f"/v1/loops/{LOOP}/rollouts", scored(http)
    body = {"model_version": "1", "strategy": "shadow"}
    rollout = http.post(rollouts, json=body).raise_for_status().json()["rollout_id"]

    def scores() -> bool:
        http.post(f"/v1/loops/{LOOP}/decisions", json=platform_body()).raise_for_status()
        return scored(http) > before

    wait_until(scores, "the shadow scores")
    yield
    http.post(f"{rollouts}/{rollout}/rollback").raise_for_status()
    wait_until(lambda: "shadow" not in http.get(f"/v1/loops/{LOOP}").json()["aliases"], "the shadow is gone")


def scored(http: httpx.Client) -> float:
    found = SCORED.search(http.get("/metrics").raise_for_status().text)
    return 0.0 if found is None else float(found[1])


if __name__ == "__main__":
    main()
