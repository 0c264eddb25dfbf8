from services.dashboard import tables
from services.dashboard.answers import (
    DeadLetter,
    Decision,
    DecisionSummary,
    Loop,
    Statistics,
    StoredFeedback,
)
from services.dashboard.distributions import action_shares
from services.dashboard.elements import Row
from shared.loop_report import Fairness
from tests.unit.services.dashboard.fake_gateway import START, FakeGateway

FAKE = FakeGateway(experiences=700)
LOOP = Loop.model_validate(FAKE.loop())
UNIT = (0.0, 1.0)
LETTER = DeadLetter(
    dead_letter_id="1", topic="decisions", reason="of no loop", dead_at=START, replayed_at=None, size=12
)


def segment_of(decisions: int, rates: dict[str, float], reward: float) -> dict[str, object]:
    def estimate(value: float) -> dict[str, object]:
        return {"value": value, "interval": (value - 0.1, value + 0.1)}

    told = {action: estimate(rate) for action, rate in rates.items()}
    return {"decisions": decisions, "selection_rates": told, "reward": estimate(reward)}


FAIRNESS = Fairness.model_validate(
    {
        "segments": {
            "NL": segment_of(60, {"yes": 0.7, "no": 0.3}, 0.5),
            "DE": segment_of(40, {"yes": 0.4, "no": 0.35}, 0.25),
        },
        "left_out": 3,
        "demographic_parity_difference": {"no": 0.05, "yes": 0.3},
        "reward_difference": 0.25,
    }
)


def only(row: Row, *names: str) -> tuple[object, ...]:
    return tuple(row[name] for name in names)


def test_decisions_wait_until_their_reward_is_there() -> None:
    decisions = [DecisionSummary.model_validate(FAKE.decision(number)) for number in (701, 700)]
    waiting, rewarded = tables.decision_rows(LOOP, decisions)
    assert waiting["reward"] == "waiting"
    assert rewarded["reward"] == "0.00"


def test_a_fallback_is_told_in_words_and_has_no_version() -> None:
    (row,) = tables.decision_rows(LOOP, [DecisionSummary.model_validate(FAKE.decision(3))])
    assert only(row, "fallback", "version", "probability") == ("no model yet", "none", "0.083")


def test_a_decision_id_stays_inside_its_address() -> None:
    decision = DecisionSummary.model_validate(FAKE.decision(3) | {"decision_id": "a/../b?c"})
    (row,) = tables.decision_rows(LOOP, [decision])
    assert row["href"] == "/loops/digits-and-questions/decisions/a%2F..%2Fb%3Fc"


def test_ranking_marks_the_chosen_action_and_keeps_it_in_long_lists() -> None:
    decision = Decision.model_validate(FAKE.whole_decision("0" * 9 + "700"))
    actions = [
        {"id": str(index), "probability": 0.01, "expected_reward": None, "interval": None} for index in range(90)
    ] + [{"id": decision.action_id + "!", "probability": 0.001, "expected_reward": None, "interval": None}]
    long = Decision.model_validate(
        FAKE.whole_decision("0" * 9 + "700") | {"ranking": actions, "action_id": decision.action_id + "!"}
    )
    assert [row["chosen"] for row in tables.ranking_rows(decision, UNIT)] == ["chosen"] + [""] * 11
    rows = tables.ranking_rows(long, UNIT)
    assert len(rows) == tables.RANKING_SHOWN + 1
    assert only(rows[-1], "chosen", "expected_reward", "interval") == ("chosen", "—", "—")


def test_late_feedback_is_marked() -> None:
    event = {"feedback_id": "f", "metric": "click", "value": 1.0, "received_at": "2026-11-23T09:30:00Z", "late": True}
    (row,) = tables.feedback_rows([StoredFeedback.model_validate(event)])
    assert only(row, "metric", "value", "note") == ("click", "1", "late")


def test_every_column_has_its_member_in_every_row() -> None:
    decision = Decision.model_validate(FAKE.whole_decision("0" * 9 + "700"))
    statistics = Statistics.model_validate(FAKE.statistics())
    shares = action_shares([decision], ["yes"])
    for columns, rows in (
        (tables.DECISIONS, tables.decision_rows(LOOP, [decision])),
        (tables.MODALITIES, tables.modality_rows(statistics)),
        (tables.ACTIONS, tables.action_rows(shares, UNIT)),
        (tables.FOLLOWS, tables.follows_rows(statistics)),
        (tables.SEGMENTS, tables.segment_rows(FAIRNESS, UNIT)),
        (tables.PARITY, tables.parity_rows(FAIRNESS)),
        (tables.DEAD_LETTERS, tables.letter_rows([LETTER])),
        (tables.WEIGHED, tables.weighed_rows(decision)),
        (tables.RANKING, tables.ranking_rows(decision, UNIT)),
        (tables.FEEDBACK, tables.feedback_rows(decision.feedback)),
    ):
        assert rows
        assert len({row["key"] for row in rows}) == len(rows)
        for column in columns:
            needed = {column.name, column.mark or column.name} | ({column.share} if column.kind == "bar" else set())
            assert all(needed <= row.keys() for row in rows)


def test_modalities_carry_their_importance_once_there_is_a_report() -> None:
    rows = tables.modality_rows(Statistics.model_validate(FAKE.statistics()))
    assert [only(row, "modality", "importance", "share") for row in rows][:2] == [
        ("digit", "60 %", "60.0%"),
        ("question", "35 %", "35.0%"),
    ]
    assert only(rows[2], "loss_rise", "correlation", "missing") == ("+0.00", "+0.03", "50 %")
    assert tables.modality_rows(Statistics.model_validate(FakeGateway(experiences=60).statistics())) == []


def test_a_modality_without_figures_is_shown_without() -> None:
    told = FAKE.statistics() | {
        "modality_importance": {
            "loss": None,
            "modalities": {"digit": {"share": None, "loss_rise": None, "missing_rate": 0}},
        }
    }
    (row,) = tables.modality_rows(Statistics.model_validate(told))
    assert only(row, "importance", "share", "loss_rise") == ("—", "0.0%", "—")


def test_segments_and_the_actions_that_differ_most_between_them() -> None:
    first, second = tables.segment_rows(FAIRNESS, UNIT)
    assert only(first, "segment", "decisions", "mean", "interval") == ("NL", "60", "0.50", "0.40 to 0.60")
    assert only(second, "left", "spread") == ("15.0%", "20.0%")
    assert [only(row, "action_id", "difference", "rates") for row in tables.parity_rows(FAIRNESS)] == [
        ("yes", "0.30", "NL 0.70 · DE 0.40"),
        ("no", "0.05", "NL 0.30 · DE 0.35"),
    ]


def test_actions_that_follow_the_state_most_come_first() -> None:
    rows = tables.follows_rows(Statistics.model_validate(FAKE.statistics()))
    assert [only(row, "action_id", "correlation") for row in rows] == [("yes", "+0.50"), ("no", "—")]
