import re
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from services.dashboard import charts
from services.dashboard.answers import Range, RewardBucket

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
UNIT = (0.0, 1.0)
STYLE = Path(charts.__file__).parent / "style.css"


def bucket(index: int, version: str | None, mean: float = 0.5) -> RewardBucket:
    return RewardBucket(
        first_sequence=20 * index + 1,
        last_sequence=20 * index + 20,
        mean=mean,
        interval=(mean - 0.1, mean + 0.1),
        count=20,
        last_decided_at=NOW,
        model_version=version,
    )


def series_of(options: charts.Options) -> list[dict[str, object]]:
    series = options["series"]
    assert isinstance(series, list)
    return [one for one in series if one["type"] == "line"]


def points_of(line: dict[str, object]) -> list[tuple[float, float]]:
    data = line["data"]
    assert isinstance(data, list)
    return [(point["value"][0], point["value"][1]) for point in data]


def labelled(line: dict[str, object]) -> bool:
    mark = line["markLine"]
    assert isinstance(mark, dict)
    return bool(mark["label"]["show"])


CURVE = [bucket(0, None, 0.1), bucket(1, "1", 0.2), bucket(2, "1", 0.4), bucket(3, "2", 0.8)]


def test_segments_are_cut_where_a_version_takes_over() -> None:
    segments = charts.segments_of([*CURVE, bucket(4, "1")])
    assert [(part.model_version, len(part.buckets)) for part in segments] == [(None, 1), ("1", 2), ("2", 1), ("1", 1)]


def test_lines_of_the_curve_join() -> None:
    lines = [points_of(line) for line in series_of(charts.reward_curve_options(CURVE, UNIT))]
    assert lines == [[(20, 0.1)], [(20, 0.1), (40, 0.2), (60, 0.4)], [(60, 0.4), (80, 0.8)]]


def test_each_line_has_the_colour_of_its_version() -> None:
    lines = series_of(charts.reward_curve_options(CURVE, UNIT))
    colours = [line["itemStyle"] for line in lines]
    assert colours == [{"color": charts.version_colour(name)} for name in (None, "1", "2")]


def test_every_point_has_its_interval() -> None:
    options = charts.reward_curve_options(CURVE, UNIT)
    assert isinstance(options["series"], list)
    whiskers = [one["data"] for one in options["series"] if one["type"] == "custom"]
    assert whiskers[1] == [[40, pytest.approx(0.1), pytest.approx(0.3)], [60, pytest.approx(0.3), pytest.approx(0.5)]]
    alone = CURVE[0].model_copy(update={"interval": None})
    options = charts.reward_curve_options([alone], UNIT)
    assert isinstance(options["series"], list)
    assert options["series"][-1]["data"] == []


def test_other_policies_lie_across_the_curve_with_their_intervals() -> None:
    yardsticks = [
        charts.Yardstick("uniform policy", 0.11, (0.08, 0.14)),
        charts.Yardstick("baseline policy", 0.2, None),
    ]
    *_, uniform, baseline = series_of(charts.reward_curve_options(CURVE, UNIT, yardsticks))
    for line, value, area in ((uniform, 0.11, [[{"yAxis": 0.08}, {"yAxis": 0.14}]]), (baseline, 0.2, [])):
        mark, band = line["markLine"], line["markArea"]
        assert isinstance(mark, dict)
        assert isinstance(band, dict)
        assert (mark["data"], band["data"]) == ([{"yAxis": value}], area)
    told = charts.describe_yardsticks(yardsticks, UNIT)
    assert "the uniform policy 0.11 (0.08 to 0.14), the baseline policy 0.20 (—)" in told
    assert charts.describe_yardsticks([], UNIT) == ""


def test_takeovers_are_labelled_as_far_as_there_is_room() -> None:
    lines = series_of(charts.reward_curve_options([bucket(index, str(index)) for index in range(40)], UNIT))
    named = [index for index, line in enumerate(lines) if labelled(line)]
    assert named[-1] == 39
    assert all(later - earlier >= 40 * charts.LABEL_GAP for earlier, later in pairwise(named))
    assert len(named) >= 8


def test_axis_holds_the_range_and_what_lies_beyond() -> None:
    assert (
        charts.reward_curve_options(CURVE, (0.0, 2.0))["yAxis"] == charts.reward_curve_options([], (0.0, 2.0))["yAxis"]
    )
    axis = charts.reward_curve_options([bucket(0, "1", -3.0)], UNIT)["yAxis"]
    assert isinstance(axis, dict)
    assert (axis["min"], axis["max"]) == (-3.0, 1.0)


def test_text_beside_a_point_cannot_hold_markup() -> None:
    (line,) = series_of(charts.reward_curve_options([bucket(0, "<img src=x>")], UNIT))
    assert "<img" not in str(line["data"])


def test_curve_is_described_in_words() -> None:
    assert charts.describe_curve(CURVE, UNIT) == "Mean reward over 80 experiences: 0.10 at first, 0.80 at the end."


def test_every_colour_is_defined_for_light_and_dark() -> None:
    used = {charts.version_colour(name) for name in (None, *map(str, range(12)))}
    used |= set(re.findall(r"var\(--[a-z0-9-]+\)", str(charts.reward_curve_options(CURVE, UNIT))))
    light, dark = STYLE.read_text().split("@media (prefers-color-scheme: dark)")
    for name in (colour.removeprefix("var(").removesuffix(")") for colour in used):
        assert f"{name}:" in light
        assert f"{name}:" in dark.split("@media")[0]


def test_neighbouring_versions_differ_in_colour() -> None:
    colours = [charts.version_colour(str(number)) for number in range(1, 20)]
    assert all(one != other for one, other in pairwise(colours))


def test_sparkline_runs_from_edge_to_edge() -> None:
    svg = charts.sparkline([bucket(0, None, 0.0), bucket(1, None, 1.0)], UNIT)
    match = re.search(r'<polyline points="([^"]+)"', svg)
    assert match is not None
    assert match[1] == "60.0,34.0 118.0,2.0"


def test_sparkline_needs_two_points() -> None:
    assert charts.sparkline([bucket(0, None)], UNIT) == ""


@pytest.mark.parametrize(
    ("low", "high", "reward_range", "place"),
    [
        (0.25, 0.5, UNIT, (25.0, 25.0)),
        (-0.2, 0.1, UNIT, (0.0, 10.0)),
        (0.9, 1.4, UNIT, (90.0, 10.0)),
        (1.2, 1.4, UNIT, (100.0, 0.0)),
        (-5.0, 5.0, (-10.0, 10.0), (25.0, 50.0)),
    ],
)
def test_place_on_bar_is_cut_at_its_ends(
    low: float, high: float, reward_range: Range, place: tuple[float, float]
) -> None:
    assert charts.place_on_bar(low, high, reward_range) == place
