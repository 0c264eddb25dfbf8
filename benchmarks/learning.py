"""How fast the platform learns, on real streams beside Vowpal Wabbit at its best settings.

Reward in one pass, how soon it is back after a drift, how well versions know what to expect, and how soon an experience
changes the next decision.

Every measurement is a file of its own in a folder, ./var/learning, and one that is there already is not done again:
a run that was broken off goes on. `--parts report` makes table, pictures and docs/learning.md of what is there.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.freshness import FreshnessResult, NoKafkaError, Profile, measure
from benchmarks.learning_report import Results, write_report
from benchmarks.streams import NAMES, Asked, Driver, StreamResult, StreamsMissingError

PROJECT: Final = Path(__file__).resolve().parents[1]
PARTS: Final = ("streams", "freshness", "freshness-kafka", "report")
CONTENDERS: Final = ("rewardloop", "vw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="freshness,streams,report", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--streams", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=None, help="rows of a stream at most")
    parser.add_argument("--train-every", type=int, default=250, help="decisions before each fine-tune; 0: never asks")
    parser.add_argument("--rate", type=float, default=0, help="decisions a second at most")
    parser.add_argument("--no-vw", action="store_true", help="the platform alone")
    parser.add_argument("--loop", default="{}", help="settings beside the defaults, as JSON; give another --out too")
    parser.add_argument("--out", type=Path, default=PROJECT / "var" / "learning", help="the folder of results")
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs", help="where the report goes")
    options = parser.parse_args()
    parts = options.parts.split(",")
    try:
        if "streams" in parts:
            run_streams(options.out, list(passes(options)))
        for part, profile in (("freshness", "embedded"), ("freshness-kafka", "kafka")):
            if part in parts:
                run_freshness(options.out, profile)  # type: ignore[arg-type] # a pair of the two that there are
    except (StreamsMissingError, NoKafkaError) as error:
        sys.exit(str(error))
    if "report" in parts:
        results = Results.read(options.out)
        if not results.streams:
            sys.exit(f"there are no results in {options.out}")
        write_report(results, options.docs)


def passes(options: argparse.Namespace) -> Iterator[Asked]:
    """Every stream under every seed, by both or by the platform alone."""
    for seed in range(1, options.seeds + 1):
        for stream in options.streams.split(","):
            for contender in CONTENDERS[: 1 if options.no_vw else None]:
                yield Asked(
                    stream=stream,
                    seed=seed,
                    contender=contender,
                    n=options.n,
                    train_every=options.train_every,
                    rate=options.rate,
                    loop=options.loop,
                )


def run_streams(folder: Path, asked: list[Asked]) -> None:
    """The passes that the folder does not have yet."""
    driver = Driver.load()
    for one in asked:
        path = folder / f"{one.stream}-{one.seed}-{one.contender}.json"
        result = StreamResult.read(path)
        if result is None or result.asked != one:
            result = driver.run(one)
            result.write(path)
        reward, last = sum(result.hits) / len(result.hits), result.last.mean()
        print(f"{path.stem}: {reward:.3f}, of the last {len(result.last)} {last:.3f}, {result.seconds:g} s", flush=True)


def run_freshness(folder: Path, profile: Profile) -> None:
    """Unless the folder has it."""
    path = folder / f"freshness-{profile}.json"
    result = FreshnessResult.read(path)
    if result is None:
        result = measure(profile)
        result.write(path)
    print(f"{path.stem}: p50 {result.p50:.3f} s, p99 {result.p99:.3f} s", flush=True)


if __name__ == "__main__":
    main()
