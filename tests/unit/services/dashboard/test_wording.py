from datetime import UTC, datetime

import pytest

from services.dashboard import wording
from services.dashboard.answers import Range, RewardBucket, RewardEstimate, Statistics
from tests.unit.services.dashboard.fake_gateway import FakeGateway

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
UNIT = (0.0, 1.0)


def curve_of(*means: float, width: int = 40) -> list[RewardBucket]:
    return [
        RewardBucket(
            first_sequence=index * width + 1,
            last_sequence=(index + 1) * width,
            mean=mean,
            interval=None,
            count=width,
            last_decided_at=NOW,
            model_version="1",
        )
        for index, mean in enumerate(means)
    ]


@pytest.mark.parametrize(
    ("means", "trend"),
    [
        ((), "early"),
        ((0.1,), "early"),
        ((0.1, 0.9), "early"),
        ((0.1, 0.1, 0.9, 0.9), "early"),
        ((0.1, 0.2, 0.4, 0.8, 0.9), "learning"),
        ((0.9, 0.9, 0.9, 0.5, 0.4, 0.3), "falling"),
        ((0.9, 0.9, 0.95, 0.9, 0.92, 0.9), "steady"),
    ],
)
def test_judge_tells_the_trend(means: tuple[float, ...], trend: str) -> None:
    assert wording.judge(curve_of(*means), UNIT).trend == trend


def test_judge_says_from_where_to_where() -> None:
    verdict = wording.judge(curve_of(0.1, 0.1, 0.1, 0.5, 0.9, 0.9, 0.9), UNIT)
    assert verdict.sentence == "Reward rose from 0.10 at first to 0.90 lately."


def test_judge_does_not_take_noise_for_learning() -> None:
    # 120 against 120 experiences: two standard errors of rewards in [0, 1] are at most .129.
    assert wording.judge(curve_of(0.5, 0.5, 0.5, 0.6, 0.6, 0.62), UNIT).trend == "steady"
    assert wording.judge(curve_of(0.5, 0.5, 0.5, 0.64, 0.64, 0.64), UNIT).trend == "learning"


def test_judge_compares_ends_that_share_nothing() -> None:
    # Of five buckets the middle one belongs to neither end.
    assert wording.judge(curve_of(0.2, 0.2, 0.9, 0.6, 0.6), UNIT).sentence.startswith(
        "Reward rose from 0.20 at first to 0.60"
    )


def test_no_rise_is_learning_while_no_version_decides() -> None:
    curve = [bucket.model_copy(update={"model_version": None}) for bucket in curve_of(0.1, 0.1, 0.1, 0.9, 0.9, 0.9)]
    assert wording.judge(curve, UNIT) == wording.Verdict("early", "No model version decides at the moment.")


@pytest.mark.parametrize(
    ("value", "text"), [(31.0, "31"), (0.25, "0.25"), (True, "yes"), ("v1.0", "v1.0"), (1e300, "1e+300")]
)
def test_cell(value: object, text: str) -> None:
    assert wording.cell(value) == text


def test_judge_holds_on_any_scale() -> None:
    scaled = [
        bucket.model_copy(update={"mean": 1000 * bucket.mean}) for bucket in curve_of(0.1, 0.1, 0.1, 0.9, 0.9, 0.9)
    ]
    assert wording.judge(scaled, (0.0, 1000.0)).sentence == "Reward rose from 100 at first to 900 lately."
    assert wording.judge(scaled, (-50_000.0, 50_000.0)).trend == "steady"


def test_recent_mean_takes_whole_buckets_up_to_a_hundred() -> None:
    assert wording.recent_mean(curve_of(0.0, 0.3, 0.6, 0.9)) == pytest.approx(0.6)
    assert wording.recent_mean([]) is None


@pytest.mark.parametrize(
    ("value", "reward_range", "text"),
    [
        (0.5, UNIT, "0.50"),
        (-0.0001, (-1.0, 1.0), "0.00"),
        (1234.5, (0.0, 5000.0), "1,234"),
        (0.01234, (0.0, 0.1), "0.012"),
        (None, UNIT, "—"),
    ],
)
def test_reward_has_the_decimals_of_its_range(value: float | None, reward_range: Range, text: str) -> None:
    assert wording.reward(value, reward_range) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.000"), (0.0001, "<0.001"), (0.005, "0.005"), (1.0, "1.000")])
def test_probability_keeps_small_ones_apart_from_zero(value: float, text: str) -> None:
    assert wording.probability(value) == text


def test_overall_has_an_interval_where_there_is_one() -> None:
    assert wording.overall(RewardEstimate(mean=0.5, interval=(0.4, 0.6)), UNIT).endswith(
        "0.50 (95 % interval 0.40 to 0.60)."
    )
    assert wording.overall(RewardEstimate(mean=0.5, interval=None), UNIT) == "Mean of all: 0.50."
    assert wording.overall(None, UNIT) == ""


@pytest.mark.parametrize(("number", "text"), [(12, "12 bytes"), (2048, "2.0 KiB"), (3 * 1024**2, "3.0 MiB")])
def test_size(number: int, text: str) -> None:
    assert wording.size(number) == text


def test_whether_actions_follow_the_state_is_told_once_there_is_a_report() -> None:
    told = [wording.follows(Statistics.model_validate(FakeGateway(experiences=n).statistics())) for n in (60, 700)]
    assert told == ["", "Actions follow the state with a correlation of +0.47; shuffled ones with -0.01."]
