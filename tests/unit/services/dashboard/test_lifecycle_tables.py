from services.dashboard import lifecycle_tables
from services.dashboard.answers import Loop, VersionReward
from services.dashboard.lifecycle_answers import (
    Evaluation,
    ModelVersion,
    ModelVersionDetail,
    RolloutDetail,
    TrainingRun,
)
from tests.unit.services.dashboard.fake_gateway import FakeGateway
from tests.unit.services.dashboard.test_tables import only

FAKE = FakeGateway(experiences=700, rollout_status="running")
LOOP = Loop.model_validate(FAKE.loop())
UNIT = (0.0, 1.0)


def detail(version: str) -> ModelVersionDetail:
    return ModelVersionDetail.model_validate(FAKE.model(version))


def test_versions_carry_what_they_earned_and_the_champion_its_mark() -> None:
    versions = [ModelVersion.model_validate(version) for version in FAKE.models()]
    earned = [
        VersionReward(model_version="1", experiences=300, mean=0.5, interval=(0.25, 0.75)),
        VersionReward(model_version=None, experiences=40, mean=0.1, interval=None),
    ]
    newest, _, first, unserved = lifecycle_tables.version_rows(LOOP, versions, earned)
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
    (row,) = lifecycle_tables.run_rows("l", [TrainingRun.model_validate(run)])
    assert only(row, "status", "progress", "share", "loss", "outcome") == (
        "running",
        "12 %",
        "12.5%",
        "0.2000",
        "75 steps",
    )


def test_two_versions_differ_in_what_is_told_of_both() -> None:
    rows = lifecycle_tables.difference_rows(detail("2"), detail("1"), {"2": "0.50 by dr"})
    assert [only(row, "what", "other", "this") for row in rows] == [
        ("experiences", "none", "1 to 300"),
        ("evaluation", "—", "0.50 by dr"),
        ("metric gate", "", "passed"),
        ("metric difference", "", "0.04"),
        ("learning.learning_rate", "0.001", "0.002"),
        ("weights of encoding", "1" * 12, "2" * 12),
    ]
    assert lifecycle_tables.difference_rows(detail("2"), detail("2"), {}) == []


def test_a_version_alone_tells_all_that_it_has() -> None:
    rows = lifecycle_tables.difference_rows(detail("1"), None, {})
    told = {str(row["what"]): row["this"] for row in rows}
    assert told["actions"] == "yes"
    assert told["learning.l2_sp"] == "0.01"
    assert "evaluation" not in told


def test_every_column_of_the_lifecycle_has_its_member_in_every_row() -> None:
    versions = [ModelVersion.model_validate(version) for version in FAKE.models()]
    unserved = VersionReward(model_version=None, experiences=40, mean=0.1, interval=None)
    rollout = RolloutDetail.model_validate(FAKE.whole_rollout("r"))
    evaluation = Evaluation.model_validate(FAKE.evaluation("uniform"))
    assert evaluation.result is not None
    runs = [TrainingRun.model_validate(run) for run in FAKE.training_runs()]
    for columns, rows in (
        (lifecycle_tables.VERSIONS, lifecycle_tables.version_rows(LOOP, versions, [unserved])),
        (lifecycle_tables.LINEAGE, lifecycle_tables.lineage_rows(LOOP, versions)),
        (lifecycle_tables.DIFFERENCES, lifecycle_tables.difference_rows(detail("2"), detail("1"), {})),
        (lifecycle_tables.RUNS, lifecycle_tables.run_rows(LOOP.loop_id, runs)),
        (lifecycle_tables.ROLLOUTS, lifecycle_tables.rollout_rows(LOOP, [rollout])),
        (lifecycle_tables.EVENTS, lifecycle_tables.event_rows(rollout, UNIT)),
        (lifecycle_tables.ARMS, lifecycle_tables.arm_rows(rollout, UNIT)),
        (lifecycle_tables.EVALUATIONS, lifecycle_tables.evaluation_rows(LOOP, [evaluation])),
        (lifecycle_tables.ESTIMATES, lifecycle_tables.estimate_rows(evaluation.result, UNIT)),
    ):
        assert rows
        assert len({row["key"] for row in rows}) == len(rows)
        for column in columns:
            linked = {"href"} if column.kind.startswith("linked") else set()
            assert all({column.name, column.mark or column.name} | linked <= row.keys() for row in rows)


def test_both_arms_of_a_rollout_stand_side_by_side() -> None:
    rollout = RolloutDetail.model_validate(FAKE.whole_rollout("r"))
    decisions, reward, rescued = lifecycle_tables.arm_rows(rollout, UNIT)
    assert only(decisions, "version", "champion") == ("120", "900")
    assert only(reward, "version", "champion") == ("0.71", "0.65")
    assert only(rescued, "version", "champion") == ("0", "1")


def test_estimates_begin_with_what_was_earned() -> None:
    result = Evaluation.model_validate(FAKE.evaluation("uniform")).result
    assert result is not None
    logged, snips, _ = lifecycle_tables.estimate_rows(result, UNIT)
    assert only(logged, "estimator", "value") == ("as it was decided", "0.60")
    assert only(snips, "value", "interval", "bernstein") == ("0.11", "0.08 to 0.14", "0.01 to 0.21")
