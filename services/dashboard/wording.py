"""Figures in words: what a page says of a number, a time, or a curve. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from services.dashboard.answers import (
    DecisionSummary,
    Loop,
    Range,
    RewardBucket,
    RewardEstimate,
    Statistics,
)

NOTHING: Final = "—"
NO_VERSION: Final = "none"

# The ends of the reward curve that are compared hold about this many experiences each.
WINDOW: Final = 100
# A change below this share of the reward's range is no change.
TOLERANCE: Final = 0.05

Trend = Literal["learning", "steady", "falling", "early"]
TREND_NAMES: Final[dict[Trend, str]] = {
    "learning": "Learning",
    "steady": "Steady",
    "falling": "Falling",
    "early": "Too early to say",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a loop is learning, and the sentence that says why."""

    trend: Trend
    sentence: str

    @property
    def name(self) -> str:
        return TREND_NAMES[self.trend]


def judge(curve: Sequence[RewardBucket], reward_range: Range) -> Verdict:
    """Compares the end of the reward curve with its beginning.

    Each end is the fewest whole buckets with a hundred experiences, and at most half of the curve. A difference counts
    where it is above 5 % of the reward's range and above two standard errors, taken as large as rewards within the
    range can make them.
    """
    total = sum(bucket.count for bucket in curve)
    if len(curve) < 2 or total < 2 * WINDOW:
        return Verdict("early", f"A verdict takes {2 * WINDOW} experiences; there {_are(total)} so far.")
    if curve[-1].model_version is None:
        return Verdict("early", "No model version decides at the moment.")
    half = len(curve) // 2
    first, first_count = _mean_of(curve[:half])
    last, last_count = _mean_of(curve[: -half - 1 : -1])
    low, high = reward_range
    error = (high - low) / 2 * math.sqrt(1 / first_count + 1 / last_count)
    margin = max(TOLERANCE * (high - low), 2 * error)
    was, now = reward(first, reward_range), reward(last, reward_range)
    if last - first > margin:
        return Verdict("learning", f"Reward rose from {was} at first to {now} lately.")
    if first - last > margin:
        return Verdict("falling", f"Reward fell from {was} at first to {now} lately.")
    return Verdict("steady", f"Reward is at {now}, {was} at first: no clear change.")


def problem(loop: Loop) -> str:
    """What a loop decides on, and among how many actions."""
    kinds = ", ".join(f"{name} ({modality.kind})" for name, modality in loop.modalities.items())
    actions = f"{count(len(loop.actions))} actions" if loop.actions else "each decision brings its actions"
    return f"{kinds} · {actions}"


def recent_mean(curve: Sequence[RewardBucket]) -> float | None:
    """Mean reward of the newest hundred experiences or so: the fewest whole buckets that hold them."""
    return _mean_of(curve[::-1])[0] if curve else None


def overall(estimate: RewardEstimate | None, reward_range: Range) -> str:
    """The mean of all rewards, with its interval where there is one."""
    if estimate is None:
        return ""
    bounds = "" if estimate.interval is None else f" (95 % interval {interval(estimate.interval, reward_range)})"
    return f"Mean of all: {reward(estimate.mean, reward_range)}{bounds}."


def curve_note(curve: Sequence[RewardBucket]) -> str:
    """What a point of the curve is."""
    width = max((bucket.count for bucket in curve), default=0)
    return f"Each point: the mean reward of {count(width)} experiences in a row." if width else ""


def count(number: int) -> str:
    return f"{number:,}"


def signed(value: float | None) -> str:
    """Two decimals with the sign."""
    return NOTHING if value is None else f"{round(value, 2) + 0.0:+.2f}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f} %"


def reported(statistics: Statistics) -> str:
    """What the figures that the trainer finds out from time to time are about; nothing before the first report."""
    report = statistics.reported
    if report is None:
        return ""
    return f"Of the newest {count(report.experiences)} experiences, under {version(report.model_version)}."


def follows(statistics: Statistics) -> str:
    """Whether the chosen action follows the state; nothing before the first report."""
    state = None if statistics.modality_correlation is None else statistics.modality_correlation.state
    if state is None or state.correlation is None:
        return ""
    return (
        f"Actions follow the state with a correlation of {signed(state.correlation)}; "
        f"shuffled ones with {signed(state.permuted)}."
    )


def reward(value: float | None, reward_range: Range) -> str:
    """With as many decimals as tell a hundredth of the reward's range."""
    if value is None:
        return NOTHING
    low, high = reward_range
    decimals = min(6, max(0, 2 - math.floor(math.log10(high - low))))
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def outcome(decision: DecisionSummary, reward_range: Range) -> str:
    """The reward of a decision, once its window has closed."""
    return "waiting" if decision.reward is None else reward(decision.reward, reward_range)


def interval(bounds: tuple[float, float] | None, reward_range: Range) -> str:
    if bounds is None:
        return NOTHING
    return f"{reward(bounds[0], reward_range)} to {reward(bounds[1], reward_range)}"


def probability(value: float) -> str:
    """Three decimals; a small one is told apart from 0."""
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def version(name: str | None) -> str:
    return NO_VERSION if name is None else f"v{name}"


def plain(name: str | None) -> str:
    """A name of the API as words: `no_model_yet` is "no model yet"."""
    return NOTHING if name is None else name.replace("_", " ")


def cell(value: object) -> str:
    """A field of a table in a context: a number, a word or a flag."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def size(number_of_bytes: int) -> str:
    if number_of_bytes < 1024:
        return f"{number_of_bytes} bytes"
    if number_of_bytes < 1024**2:
        return f"{number_of_bytes / 1024:.1f} KiB"
    return f"{number_of_bytes / 1024**2:.1f} MiB"


def _mean_of(curve: Sequence[RewardBucket]) -> tuple[float, int]:
    """Mean reward and experiences of the fewest buckets from the front that hold a hundred."""
    total, number = 0.0, 0
    for bucket in curve:
        total += bucket.mean * bucket.count
        number += bucket.count
        if number >= WINDOW:
            break
    return total / number, number


def _are(number: int) -> str:
    return "is 1" if number == 1 else f"are {count(number)}"
