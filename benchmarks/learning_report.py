"""Table, pictures and docs/learning.md from what benchmarks.learning has measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.markdown import Markdown

from benchmarks import expectations
from benchmarks.freshness import RATE, FreshnessResult
from benchmarks.measured import Measured
from benchmarks.streams import NAMES, Contender, StreamResult, decisions_to_recover

WINDOW: Final = 250
TITLES: Final[dict[Contender, str]] = {"rewardloop": "Rewardloop", "vw": "Vowpal Wabbit"}
CURVES: Final = "learning.png"
CALIBRATION: Final = "calibration.png"


@dataclass(frozen=True, slots=True)
class Results:
    """All that a folder holds."""

    streams: Sequence[StreamResult]
    freshness: Sequence[FreshnessResult]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """In the order of their names."""
        paths = sorted(folder.glob("*.json"))
        streams = filter(None, map(StreamResult.read, paths))
        return cls(list(streams), list(filter(None, map(FreshnessResult.read, paths))))

    @property
    def names(self) -> list[str]:
        """The streams that there are results of."""
        return [name for name in NAMES if any(one.asked.stream == name for one in self.streams)]

    def of(self, stream: str, contender: Contender) -> list[StreamResult]:
        """One a seed."""
        return [one for one in self.streams if (one.asked.stream, one.asked.contender) == (stream, contender)]


def write_report(results: Results, docs: Path) -> None:
    """Writes the page with its pictures, and shows it."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    plot_curves(results).savefig(docs / "images" / CURVES, dpi=110)
    plot_calibration(results).savefig(docs / "images" / CALIBRATION, dpi=110)
    page = "\n".join(_page(results))
    (docs / "learning.md").write_text(page)
    Console().print(Markdown(page))


def _page(results: Results) -> Iterator[str]:
    yield "# How fast it learns\n"
    yield (
        "Each row of a real data set is a decision among ten classes over HTTP, and only the chosen one's reward "
        "(1 if it is right, 0 if not) is revealed. One pass, the platform's default settings for every stream; "
        "Vowpal Wabbit in the same run with the settings that are best for the stream. `make bench-learning` measures "
        "all of it again and writes this page; `drift` is the digits whose classes change their names half-way.\n"
    )
    yield from _measured(results)
    yield "\n## Reward: in all / of the last 500, or the last tenth where that is more\n"
    yield from _rewards(results)
    yield f"\n![Mean reward of the last {WINDOW} decisions along each stream](images/{CURVES})\n"
    yield from _drift(results)
    yield "\n## From feedback to a changed distribution\n"
    yield from _freshness(results)
    yield "\n## What versions expected\n"
    yield (
        "Predicted before learned, by the first version and the last one of the last seed: the mean squared error of "
        "the expected reward of what was taken, and the means of what was expected and of what came.\n"
    )
    yield from _progressive(results)
    yield f"\n![Reward against expected reward, by version](images/{CALIBRATION})"
    yield ""


def _measured(results: Results) -> Iterator[str]:
    """Where and when, a line for all that is alike."""
    all_results: list[Measured] = [*results.streams, *results.freshness]
    for machine in sorted({one.machine for one in all_results}):
        dates = sorted({one.measured_on.isoformat() for one in all_results if one.machine == machine})
        yield f"Measured on {machine}, {' and '.join(dates)}."
    kinds = {(one.asked.train_every, one.asked.rate, one.asked.loop) for one in results.streams}
    for train_every, rate, loop in sorted(kinds):
        asked = f"a fine-tune asked for every {train_every} decisions" if train_every else "no fine-tunes"
        told = "" if loop == "{}" else f" Beside the defaults: `{loop}`."
        yield asked[0].upper() + asked[1:] + (f", {rate:g} decisions a second at most." if rate else ".") + told


def _rewards(results: Results) -> Iterator[str]:
    yield "| stream | rows | seeds | " + " | ".join(TITLES.values()) + " |"
    yield "|---|---|---|---|---|"
    for stream in results.names:
        runs = results.of(stream, "rewardloop")
        rows = len(runs[0].hits) if runs else 0
        cells = [_mean_rewards(results.of(stream, contender)) for contender in TITLES]
        yield f"| {stream} | {rows:,} | {len(runs)} | " + " | ".join(cells) + " |"


def _mean_rewards(runs: Sequence[StreamResult]) -> str:
    if not runs:
        return "none"
    return f"{np.mean([np.mean(one.hits) for one in runs]):.3f} / {np.mean([one.last.mean() for one in runs]):.3f}"


def _drift(results: Results) -> Iterator[str]:
    if "drift" not in results.names:
        return
    yield "## After a drift\n"
    yield "Decisions until the reward of the last 100 is back to 90 % of what it was before, one number a seed.\n"
    yield "| | decisions |"
    yield "|---|---|"
    for contender, title in TITLES.items():
        found = [(decisions_to_recover(one.hits), len(one.hits) // 2) for one in results.of("drift", contender)]
        told = ["none" if not found else ", ".join(f"not in {most}" if n is None else str(n) for n, most in found)]
        yield f"| {title} | {told[0]} |"


def _freshness(results: Results) -> Iterator[str]:
    yield (
        "Seconds from the answer to a feedback, which closes its experience, to a head that has learned it, with "
        f"{RATE:g} decisions and feedbacks a second asked for.\n"
    )
    yield "| log | p50 | p99 | reached a second |"
    yield "|---|---|---|---|"
    for one in results.freshness:
        missed = f" ({one.never} never)" if one.never else ""
        yield f"| {one.profile} | {one.p50:.3f} | {one.p99:.3f}{missed} | {one.events_per_second:.0f} |"


def _progressive(results: Results) -> Iterator[str]:
    yield "| stream | version | decisions | squared error | expected | reward |"
    yield "|---|---|---|---|---|---|"
    for stream, told in _told(results):
        versions = list(expectations.by_version(told).items())
        # What is between them, the picture shows.
        for version, of in versions[:1] + versions[1:][-1:]:
            cells = f"{of['decisions']:.0f} | {of['squared_error']:.3f} | {of['expected']:.3f} | {of['reward']:.3f}"
            yield f"| {stream} | {version} | {cells} |"


def _told(results: Results) -> Iterator[tuple[str, expectations.Told]]:
    """Of the last seed of each stream."""
    for stream in results.names:
        runs = results.of(stream, "rewardloop")
        if runs and runs[-1].told:
            yield stream, np.array(runs[-1].told, np.float64)


def plot_curves(results: Results) -> Figure:
    """Mean reward of the last 250 decisions along each stream."""

    def draw(axes: Axes, stream: str) -> None:
        for contender, title in TITLES.items():
            runs = results.of(stream, contender)
            if runs:
                smooth = _smoothed(np.mean([one.hits for one in runs], axis=0))
                axes.plot(np.arange(len(smooth)) + WINDOW, smooth, label=title)
        axes.set(title=stream, xlabel="decisions", ylabel=f"reward, mean of {WINDOW}", ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")

    return _plots(results.names, draw)


def plot_calibration(results: Results) -> Figure:
    """How well versions knew what to expect, by stream."""
    told = dict(_told(results))

    def draw(axes: Axes, stream: str) -> None:
        axes.set(title=stream)
        expectations.plot_calibration(axes, told[stream])

    return _plots(list(told), draw)


def _plots(names: Sequence[str], draw: Callable[[Axes, str], None]) -> Figure:
    """Three in a line."""
    columns = min(3, max(1, len(names)))
    lines = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(4 * columns, 3.2 * lines), layout="constrained")
    for axes, name in zip(figure.subplots(lines, columns, squeeze=False).flat, names, strict=False):
        draw(axes, name)
    return figure


def _smoothed(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(rewards, np.ones(WINDOW) / WINDOW, "valid")
