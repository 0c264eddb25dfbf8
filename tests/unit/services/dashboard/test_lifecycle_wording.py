import pytest

from services.dashboard import lifecycle_wording
from services.dashboard.lifecycle_answers import Evaluation, ModelVersion, RolloutDetail, TrainingRun
from tests.unit.services.dashboard.fake_gateway import FakeGateway

FAKE = FakeGateway(experiences=700, rollout_status="running")
UNIT = (0.0, 1.0)


@pytest.mark.parametrize(
    ("status", "metrics", "text"),
    [
        ("ready", {"gate": "passed"}, "passed"),
        ("ready", {"gate": "insufficient_evidence", "difference": 0.034}, "insufficient evidence, +0.03"),
        ("rejected", {"gate": "failed", "difference": -0.1}, "rejected: failed, -0.10"),
        ("ready", {}, ""),
        ("rejected", {"gate": "insufficient_evidence"}, "rejected: insufficient evidence"),
        ("rejected", {}, "rejected"),
        ("collected", {"gate": "failed"}, "collected: failed"),
    ],
)
def test_gate_says_what_became_of_a_version(status: str, metrics: dict[str, object], text: str) -> None:
    version = FAKE.models()[0] | {"status": status, "metrics": metrics}
    assert lifecycle_wording.gate(ModelVersion.model_validate(version)) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": "queued"}, "waits for the trainer"),
        ({"status": "running"}, "starting"),
        ({"status": "running", "steps": 1200}, "1,200 steps"),
        ({"status": "succeeded", "model_version": "4", "detail": "passed; difference 0.1"}, "v4 took over"),
        ({"status": "skipped", "model_version": "4", "detail": "failed; difference -0.1"}, "v4 turned down"),
        ({"status": "skipped", "detail": "nothing new to learn from"}, "nothing new to learn from"),
        ({"status": "failed"}, "failed"),
    ],
)
def test_run_outcome_is_one_line(changes: dict[str, object], text: str) -> None:
    run = FAKE.training_runs()[0] | {"progress": 0.0, "steps": 0, "loss": None}
    assert lifecycle_wording.run_outcome(TrainingRun.model_validate(run | changes)) == text


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("uniform", "the uniform policy"),
        ({"model_version": "3"}, "version 3"),
        ({"constant": "yes"}, "always yes"),
        ({"table": {"probabilities": {"a": 1}}}, "a table of probabilities"),
    ],
)
def test_target(asked: str | dict[str, object], text: str) -> None:
    assert lifecycle_wording.target(asked) == text


def test_an_evaluation_is_told_by_its_doubly_robust_value() -> None:
    told = FAKE.evaluation("uniform")
    evaluation = Evaluation.model_validate(told)
    assert lifecycle_wording.evaluation_outcome(evaluation, UNIT) == "0.11 by dr"
    waiting = Evaluation.model_validate(told | {"status": "queued", "result": None})
    assert lifecycle_wording.evaluation_outcome(waiting, UNIT) == "waits for the trainer"
    failed = Evaluation.model_validate(told | {"status": "failed", "result": None, "detail": "no rows"})
    assert lifecycle_wording.evaluation_outcome(failed, UNIT) == "no rows"
    assert evaluation.result is not None
    assert "worth 87 of the policy's own" in lifecycle_wording.sample(evaluation.result)
    assert lifecycle_wording.window(evaluation) == "all decisions"


def test_a_rollout_is_told_with_its_evidence_and_where_it_stands() -> None:
    rollout = RolloutDetail.model_validate(FAKE.whole_rollout("r"))
    assert lifecycle_wording.steps(rollout) == "10 % → [25 %] → 50 %"
    assert lifecycle_wording.difference(rollout.figures, UNIT) == "+0.06 (-0.02 to ∞)"
    assert lifecycle_wording.evidence(rollout.figures, UNIT) == (
        "120 decisions earned 0.71, the champion's 900 0.65: +0.06 (-0.02 to ∞)"
    )
    assert lifecycle_wording.evidence({}, UNIT) == lifecycle_wording.difference({}, UNIT) == "—"


@pytest.mark.parametrize(
    ("status", "champion", "verbs"),
    [
        ("running", "3", ("promote", "pause", "rollback")),
        ("paused", "3", ("promote", "resume", "rollback")),
        ("promoted", "1", ("rollback",)),
        ("promoted", "3", ()),
        ("rolled_back", "3", ()),
        ("stopped", "3", ()),
    ],
)
def test_what_may_be_done_with_a_rollout(status: str, champion: str, verbs: tuple[str, ...]) -> None:
    rollout = RolloutDetail.model_validate(FAKE.whole_rollout("r") | {"status": status})
    assert lifecycle_wording.verbs(rollout, champion) == verbs
