"""The reward over the experiences as pictures: a curve, a sparkline, an interval's place on a bar. Pure functions.

Colours are names of the style sheet's variables, so that one drawing serves the light and the dark page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Final

from services.dashboard import wording
from services.dashboard.answers import Range, RewardBucket

Options = dict[str, object]

VERSION_COLOURS: Final = 6
# Draws the 95 % interval of a point: [experiences, lower, upper].
WHISKER: Final = (
    "(params, api) => { const [x, top] = api.coord([api.value(0), api.value(2)]); "
    "const bottom = api.coord([api.value(0), api.value(1)])[1]; return { type: 'line', shape: { x1: x, y1: top, x2: x, "
    "y2: bottom }, style: { stroke: api.visual('color'), lineWidth: 1.5, opacity: 0.45 } }; }"
)
# Labels of takeovers closer than this share of the axis would touch each other.
LABEL_GAP: Final = 0.09
# ECharts hands the hovered points over; a point's value ends with its text and its time.
TOOLTIP: Final = (
    "points => { const point = points.filter(one => one.seriesType === 'line').pop(); if (!point) return ''; "
    "const [, , text, time] = point.data.value; "
    "return text + '<br>until ' + new Date(time).toLocaleString(); }"
)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What another policy would have earned: a line across the curve."""

    name: str
    value: float
    interval: Range | None


@dataclass(frozen=True, slots=True)
class Segment:
    """Buckets in a row of one model version; None: no version decided."""

    model_version: str | None
    buckets: Sequence[RewardBucket]


def segments_of(curve: Sequence[RewardBucket]) -> list[Segment]:
    """The curve cut where another model version takes over."""
    return [Segment(name, list(buckets)) for name, buckets in groupby(curve, key=lambda bucket: bucket.model_version)]


def version_colour(name: str | None) -> str:
    """The colour of a model version on every page, as CSS; grey where no version decided."""
    if name is None:
        return "var(--version-none)"
    number = int(name) if name.isdecimal() else sum(name.encode())
    return f"var(--version-{number % VERSION_COLOURS})"


def reward_curve_options(
    curve: Sequence[RewardBucket], reward_range: Range, yardsticks: Sequence[Yardstick] = ()
) -> Options:
    """ECharts options of the reward over the experiences with its intervals, one line a segment, marked where versions
    take over, beside what other policies would have earned."""
    segments = segments_of(curve)
    labelled = _labelled(segments)
    lines = []
    for index, segment in enumerate(segments):
        # The line starts where the one before ends: the curve has no holes.
        joint = [_point(segments[index - 1].buckets[-1], reward_range, visible=False)] if index else []
        points = joint + [_point(bucket, reward_range) for bucket in segment.buckets]
        lines += [_line(segment, points, index in labelled), _whiskers(segment)]
    lines += [_across(yardstick, index, reward_range) for index, yardstick in enumerate(yardsticks)]
    low, high = _axis_range(curve, reward_range)
    return {
        **canvas(describe_curve(curve, reward_range)),
        "tooltip": tooltip() | {":formatter": TOOLTIP},
        "xAxis": axis(0, curve[-1].last_sequence if curve else 1, grid=False) | named("experiences"),
        "yAxis": axis(low, high, grid=True),
        "series": lines,
    }


def describe_curve(curve: Sequence[RewardBucket], reward_range: Range) -> str:
    """The curve in a sentence, for those who do not see it."""
    if not curve:
        return "No experiences yet."
    first, last = (wording.reward(bucket.mean, reward_range) for bucket in (curve[0], curve[-1]))
    return (
        f"Mean reward over {wording.count(curve[-1].last_sequence)} experiences: {first} at first, {last} at the end."
    )


def describe_yardsticks(yardsticks: Sequence[Yardstick], reward_range: Range) -> str:
    """What other policies would have earned, in a sentence; empty where none was evaluated."""
    told = [
        f"the {one.name} {wording.reward(one.value, reward_range)} ({wording.interval(one.interval, reward_range)})"
        for one in yardsticks
    ]
    return f"By off-policy evaluation, on the same decisions: {', '.join(told)}." if told else ""


def sparkline(curve: Sequence[RewardBucket], reward_range: Range) -> str:
    """An SVG of the reward curve, 120 by 36, without axes; empty without two points."""
    if len(curve) < 2:
        return ""
    low, high = _axis_range(curve, reward_range)
    newest = curve[-1].last_sequence
    points = [
        f"{2 + 116 * bucket.last_sequence / newest:.1f},{34 - 32 * (bucket.mean - low) / (high - low):.1f}"
        for bucket in curve
    ]
    first_x, last_x = points[0].partition(",")[0], points[-1].partition(",")[0]
    line = " ".join(points)
    return (
        '<svg viewBox="0 0 120 36" preserveAspectRatio="none" aria-hidden="true">'
        f'<polygon points="{first_x},36 {line} {last_x},36"/><polyline points="{line}"/></svg>'
    )


def place_on_bar(low: float, high: float, reward_range: Range) -> tuple[float, float]:
    """Where [low, high] lies in the reward's range: left edge and width in percent, cut at the range's ends."""
    start, end = (100 * (edge - reward_range[0]) / (reward_range[1] - reward_range[0]) for edge in (low, high))
    left = min(100.0, max(0.0, start))
    return round(left, 2), round(min(100.0, max(left, end)) - left, 2)


def _axis_range(curve: Sequence[RewardBucket], reward_range: Range) -> Range:
    means = [bucket.mean for bucket in curve]
    return min([reward_range[0], *means]), max([reward_range[1], *means])


def _point(bucket: RewardBucket, reward_range: Range, visible: bool = True) -> dict[str, object]:
    """A bucket where it ends, with the text that stands beside it when it is pointed at."""
    stretch = f"{wording.count(bucket.first_sequence)} to {wording.count(bucket.last_sequence)}"
    text = (
        f"<b>{wording.reward(bucket.mean, reward_range)}</b> mean reward<br>experiences {stretch}<br>"
        f"model version: {escape(wording.version(bucket.model_version))}"
    )
    point: dict[str, object] = {"value": [bucket.last_sequence, bucket.mean, text, bucket.last_decided_at.isoformat()]}
    return point if visible else point | {"symbol": "none"}


def _labelled(segments: Sequence[Segment]) -> set[int]:
    """The segments whose takeover is named: the newest, and before it each that has room."""
    chosen: set[int] = set()
    edge = math.inf
    for index in reversed(range(len(segments))):
        start = segments[index].buckets[0].first_sequence
        if start <= edge:
            chosen.add(index)
            edge = start - LABEL_GAP * segments[-1].buckets[-1].last_sequence
    return chosen


def _line(segment: Segment, points: list[dict[str, object]], labelled: bool) -> dict[str, object]:
    colour = version_colour(segment.model_version)
    label = {
        "show": labelled,
        "formatter": wording.version(segment.model_version),
        "color": colour,
        "fontWeight": 600,
        "align": "left",
        "distance": 6,
    }
    return {
        "type": "line",
        "data": points,
        "symbol": "circle",
        "symbolSize": 5,
        "itemStyle": {"color": colour},
        "lineStyle": {"color": colour, "width": 2.5, "cap": "round", "join": "round"},
        "areaStyle": {"color": colour, "opacity": 0.07},
        "emphasis": {"disabled": True},
        "markLine": {
            "silent": True,
            "symbol": "none",
            "label": label,
            "lineStyle": {"color": colour, "type": "dashed", "width": 1, "opacity": 0.5},
            "data": [{"xAxis": segment.buckets[0].first_sequence}],
        },
    }


def _whiskers(segment: Segment) -> dict[str, object]:
    colour = version_colour(segment.model_version)
    data = [[bucket.last_sequence, *bucket.interval] for bucket in segment.buckets if bucket.interval is not None]
    return {
        "type": "custom",
        ":renderItem": WHISKER,
        "data": data,
        "encode": {"x": 0, "y": [1, 2]},
        "itemStyle": {"color": colour},
        "silent": True,
        "clip": True,
        "tooltip": {"show": False},
    }


def _across(yardstick: Yardstick, index: int, reward_range: Range) -> dict[str, object]:
    """A line over the whole width, with its interval as a band; names stand at either end in turn."""
    area = [] if yardstick.interval is None else [[{"yAxis": edge} for edge in yardstick.interval]]
    return {
        "type": "line",
        "data": [],
        "markLine": {
            "silent": True,
            "symbol": "none",
            "label": {
                "formatter": f"{yardstick.name} {wording.reward(yardstick.value, reward_range)}",
                "color": "var(--muted)",
                "position": "insideEndTop" if index % 2 else "insideStartTop",
            },
            "lineStyle": {"color": "var(--muted)", "type": "dashed", "width": 1.5},
            "data": [{"yAxis": yardstick.value}],
        },
        "markArea": {"silent": True, "itemStyle": {"color": "var(--muted)", "opacity": 0.1}, "data": area},
    }


def canvas(description: str) -> Options:
    """What every chart has: room, no motion, and a sentence for those who do not see it."""
    return {
        "animation": False,
        "aria": {"enabled": True, "label": {"description": description}},
        "grid": {"left": 4, "right": 12, "top": 28, "bottom": 24, "containLabel": True},
        "textStyle": {"fontFamily": "inherit"},
    }


def tooltip() -> dict[str, object]:
    return {
        "trigger": "axis",
        "backgroundColor": "var(--surface)",
        "borderColor": "var(--border)",
        "textStyle": {"color": "var(--text)", "fontSize": 12},
        "axisPointer": {"lineStyle": {"color": "var(--muted)"}},
    }


def named(name: str) -> dict[str, object]:
    """The name of a horizontal axis."""
    return {
        "name": name,
        "nameLocation": "middle",
        "nameGap": 28,
        "nameTextStyle": {"color": "var(--muted)"},
    }


def axis(low: float | None, high: float | None, grid: bool) -> dict[str, object]:
    """A value axis; its ends follow the data where they are None."""
    return {
        "type": "value",
        "min": low,
        "max": high,
        "axisLabel": {"color": "var(--muted)", "hideOverlap": True, "showMaxLabel": grid},
        "axisLine": {"show": not grid, "lineStyle": {"color": "var(--border)"}},
        "axisTick": {"show": False},
        "splitLine": {"show": grid, "lineStyle": {"color": "var(--border)"}},
    }
