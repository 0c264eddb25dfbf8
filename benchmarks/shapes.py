"""Decisions of other shapes than `benchmarks.decide` has, feedback, and what 100,000 decisions leave in memory.

- `actions`: a loop that lists ten actions of 32 features beside one that lists a thousand, in turn.
- `feedback`: events a second that one gateway makes durable, in lists of 100; `feedback-kafka` on Kafka.
- `many`: latency and memory before and after so many decisions with everything running.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import psutil

from benchmarks.decide import FEATURES, MODALITIES, Target, load, named, numbers, require_wrk, run_wrk, split
from benchmarks.measured import machine
from benchmarks.production import production, variables
from benchmarks.serving import paused, served_platform, tree, wait_for_version, wait_until

FEW, MANY = 10, 1000
LIST: Final = 100
CONNECTIONS: Final = 16
MEBIBYTE: Final = 2**20
PARTS: Final = ("actions", "feedback", "feedback-kafka", "many")

Found = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=int, default=5, help="of one run")
    parser.add_argument("--runs", type=int, default=3, help="of each loop, in turn; the median counts")
    parser.add_argument("--decisions", type=int, default=100_000, help="of the part `many`")
    options = parser.parse_args()
    require_wrk()
    found: dict[str, Found] = {}
    for part in options.parts.split(","):
        match part:
            case "actions":
                found[part] = actions(options.seconds, options.runs)
            case "feedback":
                with tempfile.TemporaryDirectory() as home, platform(Path(home), False) as (target, _):
                    found[part] = feedback(target, options.seconds)
            case "feedback-kafka":
                with (
                    tempfile.TemporaryDirectory() as home,
                    production(Path(home)) as settings,
                    platform(settings.home, False, **variables(settings)) as (target, _),
                ):
                    found[part] = feedback(target, options.seconds)
            case "many":
                found[part] = many(options.decisions, options.seconds)
            case _:
                sys.exit(f"there is no part {part}: {', '.join(PARTS)}")
        print(part, {name: round(value, 3) for name, value in found[part].items()}, flush=True)
    print("SHAPES", json.dumps({"machine": machine(), **found}))


@contextmanager
def platform(home: Path, whole: bool, **more: str) -> Iterator[tuple[Target, list[psutil.Process]]]:
    """One with a loop that lists ten actions, and another that lists a thousand; the first one's decisions, and all
    processes. What decides nothing is paused, unless it is to run as a whole."""
    with served_platform(home, REWARDLOOP_SEPARATE_MODEL_SERVICES="true", **more) as (url, key, process):
        body = json.dumps({"context": numbers()[0]}).encode()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as http:
            for count in (FEW, MANY):
                settings = {"modalities": MODALITIES, "actions": listed(count)}
                http.put(f"/v1/loops/of-{count}", json=settings).raise_for_status()
                wait_for_version(http, f"/v1/loops/of-{count}/decisions", body)
        decides, others = split(process)
        with paused([] if whole else others):
            yield Target(f"{url}/v1/loops/of-{FEW}/decisions", body, decides, key), tree(process)


def listed(count: int) -> list[dict[str, object]]:
    """So many actions, of 32 numbers each."""
    return named(np.random.default_rng(0).standard_normal((count, FEATURES)).round(6).tolist())


def actions(seconds: int, runs: int) -> Found:
    """Decisions a second by both loops, and their ratio."""
    with tempfile.TemporaryDirectory() as home, platform(Path(home), False) as (few, _):
        many_of = Target(few.url.replace(f"of-{FEW}", f"of-{MANY}"), few.body, few.processes, few.key)
        for target in (few, many_of):
            load(target, CONNECTIONS, 3)
        pairs = [(load(few, CONNECTIONS, seconds), load(many_of, CONNECTIONS, seconds)) for _ in range(runs)]
    rates = [statistics.median(pair[at]["rate"] for pair in pairs) for at in (0, 1)]
    errors = sum(one["errors"] for pair in pairs for one in pair)
    return {"of ten": rates[0], "of a thousand": rates[1], "ratio": rates[1] / rates[0], "errors": errors}


def feedback(of: Target, seconds: int) -> Found:
    """Events a second by one gateway."""
    target = Target(of.url.replace("/decisions", "/feedback"), b"", of.processes, of.key)
    run_wrk("feedback.lua", target, CONNECTIONS, 2, PREFIX="warm", LIST=str(LIST))
    figures = run_wrk("feedback.lua", target, CONNECTIONS, seconds, PREFIX="measured", LIST=str(LIST))
    return {
        "events a second": LIST * figures["rate"],
        "p50_ms": figures["p50_ms"],
        "p99_ms": figures["p99_ms"],
        "errors": figures["errors"],
    }


def many(decisions: int, seconds: int) -> Found:
    """With the joiner and the trainer running."""
    with tempfile.TemporaryDirectory() as home, platform(Path(home), True) as (target, processes):
        load(target, 64, 10)
        before, first = mebibytes(processes), load(target, CONNECTIONS, seconds)
        made = 0.0
        while made < decisions:
            made += 30 * load(target, 64, 30)["rate"]
            print(f"{made:,.0f} decisions", flush=True)
        headers = {"Authorization": f"Bearer {target.key}"}
        url = target.url.replace("/decisions", "/statistics")
        wait_until(
            lambda: set(httpx.get(url, headers=headers).json()["joiner_lag"].values()) == {0}, "all is joined", 600
        )
        time.sleep(5)
        after, last = mebibytes(processes), load(target, CONNECTIONS, seconds)
    grown = {f"MiB more: {name}": after[name] - before[name] for name in before if name in after}
    return {
        "decisions": made,
        "p50_ms before": first["p50_ms"],
        "p50_ms after": last["p50_ms"],
        "p99_ms before": first["p99_ms"],
        "p99_ms after": last["p99_ms"],
        **grown,
    }


def mebibytes(processes: list[psutil.Process]) -> dict[str, float]:
    """By process, what it holds for itself."""
    return {
        " ".join(one.cmdline()[-2:]).removeprefix("-m "): one.memory_full_info().uss / MEBIBYTE
        for one in processes
        if one.is_running()
    }


if __name__ == "__main__":
    main()
