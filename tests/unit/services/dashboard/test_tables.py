from services.dashboard import tables
from services.dashboard.answers import (
    Decision,
    DecisionSummary,
    Loop,
    ModelVersion,
    Statistics,
    StoredFeedback,
    TrainingRun,
    VersionReward,
)
from services.dashboard.elements import Row
from tests.unit.services.dashboard.fake_gateway import FakeGateway

FAKE = FakeGateway(experiences=700)
LOOP = Loop.model_validate(FAKE.loop())


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


def test_versions_carry_what_they_earned_and_the_champion_its_mark() -> None:
    versions = [ModelVersion.model_validate(version) for version in FAKE.models()]
    earned = [
        VersionReward(model_version="1", experiences=300, mean=0.5, interval=(0.25, 0.75)),
        VersionReward(model_version=None, experiences=40, mean=0.1, interval=None),
    ]
    newest, _, first, unserved = tables.version_rows(LOOP, versions, earned)
    assert only(newest, "version", "aliases", "mean", "interval", "gate") == (
        "v3",
        "champion",
        "—",
        "—",
        "passed, +0.04",
    )
    assert only(first, "version", "mean", "left", "spread", "parent") == ("v1", "0.50", "25.0%", "50.0%", "")
    assert only(unserved, "version", "mean", "experiences", "interval") == ("none", "0.10", "40", "—")


def test_runs_show_how_far_they_are() -> None:
    run = FAKE.training_runs()[0] | {"progress": 0.125, "steps": 75, "loss": 0.2}
    (row,) = tables.run_rows([TrainingRun.model_validate(run)])
    assert only(row, "status", "progress", "share", "loss", "outcome") == (
        "running",
        "12 %",
        "12.5%",
        "0.2000",
        "75 steps",
    )


def test_ranking_marks_the_chosen_action_and_keeps_it_in_long_lists() -> None:
    decision = Decision.model_validate(FAKE.whole_decision("0" * 9 + "700"))
    actions = [
        {"id": str(index), "probability": 0.01, "expected_reward": None, "interval": None} for index in range(90)
    ] + [{"id": decision.action_id + "!", "probability": 0.001, "expected_reward": None, "interval": None}]
    long = Decision.model_validate(
        FAKE.whole_decision("0" * 9 + "700") | {"ranking": actions, "action_id": decision.action_id + "!"}
    )
    assert [row["chosen"] for row in tables.ranking_rows(LOOP, decision)] == ["chosen"] + [""] * 11
    rows = tables.ranking_rows(LOOP, long)
    assert len(rows) == tables.RANKING_SHOWN + 1
    assert only(rows[-1], "chosen", "expected_reward", "interval") == ("chosen", "—", "—")


def test_late_feedback_is_marked() -> None:
    event = {"feedback_id": "f", "metric": "click", "value": 1.0, "received_at": "2026-11-23T09:30:00Z", "late": True}
    (row,) = tables.feedback_rows([StoredFeedback.model_validate(event)])
    assert only(row, "metric", "value", "note") == ("click", "1", "late")


def test_every_column_has_its_member_in_every_row() -> None:
    decision = Decision.model_validate(FAKE.whole_decision("0" * 9 + "700"))
    versions = [ModelVersion.model_validate(version) for version in FAKE.models()]
    unserved = VersionReward(model_version=None, experiences=40, mean=0.1, interval=None)
    for columns, rows in (
        (tables.DECISIONS, tables.decision_rows(LOOP, [decision])),
        (tables.VERSIONS, tables.version_rows(LOOP, versions, [unserved])),
        (tables.RUNS, tables.run_rows([TrainingRun.model_validate(run) for run in FAKE.training_runs()])),
        (tables.RANKING, tables.ranking_rows(LOOP, decision)),
        (tables.FEEDBACK, tables.feedback_rows(decision.feedback)),
    ):
        assert rows
        assert len({row["key"] for row in rows}) == len(rows)
        for column in columns:
            assert all({column.name, column.mark or column.name} <= row.keys() for row in rows)


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
