"""Reward earned in one pass over real streams, beside Vowpal Wabbit at its best settings, in one run.

The streams and their drivers are those of ../shared/bench/streams.py: each row is a decision among ten classes over
HTTP, and only the chosen one's reward is revealed. `drift` is the digits stream whose classes change their names
half-way. Every stream has the platform's default settings. VW runs in this process, with the setting that is best for
the stream.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks import expectations, freshness
from benchmarks.serving import served_platform

STREAMS = Path(__file__).resolve().parents[2] / "shared/bench/streams.py"
NAMES = ("digits", "fmnist", "mnist", "av", "avm", "drift")
CLASSES = 10
WINDOW = 250

Hits = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=None, help="rows of a stream at most")
    parser.add_argument("--train-every", type=int, default=250, help="decisions before each fine-tune; 0: never asks")
    parser.add_argument("--rate", type=float, default=0, help="decisions a second at most")
    parser.add_argument("--no-vw", action="store_true", help="the platform alone")
    parser.add_argument("--plot", type=Path, help="a picture of the learning curves, and of calibration below them")
    parser.add_argument(
        "--fresh-events", type=int, default=2000, help="decisions that freshness is measured on; 0: not"
    )
    options = parser.parse_args()
    if not STREAMS.is_file():
        sys.exit(f"{STREAMS} is not here: the streams are not part of this project")
    streams = load_streams()
    results: dict[str, dict[str, list[Hits]]] = {}
    told: dict[str, expectations.Told] = {}
    fresh: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as home, served_platform(Path(home)) as (url, key, _):
        if options.fresh_events:
            fresh = freshness.measure(url, key, options.fresh_events)
            print("seconds from feedback to a head that has it, at 100 events/s:", fresh, flush=True)
        for name in options.streams.split(","):
            results[name] = {"Rewardloop": [], "VW": []}
            for seed in range(1, options.seeds + 1):
                arguments = argparse.Namespace(
                    stream="digits" if name == "drift" else name,
                    url=url,
                    key=key,
                    rate=options.rate,
                    train_every=options.train_every,
                    secret=seed,
                    same=False,
                    permute=False,
                    loop="{}",
                )
                rows = rows_of(streams, arguments, options.n, drift=name == "drift")
                results[name]["Rewardloop"].append(np.array(streams.through_rewardloop(arguments, *rows)[0], float))
                told[name] = expectations.read_newest_loop(Path(home))
                if not options.no_vw:
                    results[name]["VW"].append(np.array(streams.through_vw(arguments, *rows)[0], float))
                print(f"{name}, seed {seed}:", figures(results[name]), flush=True)
    show(results)
    if options.plot is not None:
        plot(results, told, options.plot)
    print("LEARNING", json.dumps({name: figures(runs) for name, runs in results.items()}))
    # Of the last seed: predicted before learned.
    print("PROGRESSIVE", json.dumps({name: expectations.by_version(of) for name, of in told.items()}))
    print("FRESHNESS", json.dumps(fresh))


def load_streams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("streams", STREAMS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(
    streams: ModuleType, arguments: argparse.Namespace, most: int | None, *, drift: bool
) -> tuple[object, object, NDArray[np.int64], object, Sequence[str], object]:
    """A stream in the order of its seed, as its driver takes it: pictures, sounds, labels, presence, names, pixels."""
    images, sounds, labels, here = streams.rows(arguments.stream)
    rng = np.random.RandomState(arguments.secret)
    order = rng.permutation(len(labels))[:most]
    names = [f"class-{value:03d}" for value in rng.permutation(1000)[:CLASSES]]
    labels = labels[order].astype(np.int64)
    if drift:
        half = len(labels) // 2
        # Nobody keeps a name.
        labels[half:] = (labels[half:] + rng.randint(1, CLASSES)) % CLASSES
    sounds = [sounds[index] for index in order] if sounds else None
    present = {modality: there[order] for modality, there in here.items()}
    return images[order], sounds, labels, present, names, np.arange(images[0].size)


def figures(runs: dict[str, list[Hits]]) -> dict[str, dict[str, float]]:
    """Means over the seeds: reward over the whole stream, and over its last 500 or tenth."""
    return {
        name: {
            "cumulative": round(float(np.mean([hits.mean() for hits in of])), 3),
            "last": round(float(np.mean([hits[-max(500, len(hits) // 10) :].mean() for hits in of])), 3),
        }
        for name, of in runs.items()
        if of
    }


def show(results: dict[str, dict[str, list[Hits]]]) -> None:
    table = Table(title="Reward in one pass: cumulative / last 500 or tenth")
    table.add_column("stream")
    for name in ("Rewardloop", "VW"):
        table.add_column(name, justify="right")
    for stream, runs in results.items():
        found = figures(runs)
        cells = [
            f"{found[name]['cumulative']:.3f} / {found[name]['last']:.3f}" if name in found else "" for name in runs
        ]
        table.add_row(stream, *cells)
    Console().print(table)


def plot(results: dict[str, dict[str, list[Hits]]], told: dict[str, expectations.Told], path: Path) -> None:
    """Mean reward of the last 250 decisions along each stream, and below it how well versions knew what to expect."""
    figure = Figure(figsize=(4 * len(results), 6.4), layout="constrained")
    above, below = figure.subplots(2, len(results), squeeze=False)
    for axes, calibration, (stream, runs) in zip(above, below, results.items(), strict=True):
        for name, of in runs.items():
            if of:
                mean = np.mean(of, axis=0)
                smooth = np.convolve(mean, np.ones(WINDOW) / WINDOW, "valid")
                axes.plot(np.arange(len(smooth)) + WINDOW, smooth, label=name)
        axes.set(title=stream, xlabel="decisions", ylabel=f"reward, mean of {WINDOW}", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        expectations.plot_calibration(calibration, told[stream])
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
