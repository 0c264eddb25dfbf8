"""Commands that follow something, or call routes page by page."""

import json
from pathlib import Path

import httpx
import pytest

from tests.unit.services.cli.conftest import Answers

RUN = {"training_run_id": "r-1", "status": "queued", "progress": 0.0, "loss": None, "steps": 0} | {
    "model_version": None,
    "detail": None,
}


def test_training_is_watched_to_its_end(answers: Answers) -> None:
    for change in ({}, {"status": "running", "progress": 0.5, "loss": 0.25}, {"status": "succeeded", "progress": 1.0}):
        answers.give(RUN | change, 200)
    result = answers.run("train", "shoes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "succeeded"
    assert answers.calls()[1:] == [("GET", "/v1/loops/shoes/training-runs/r-1")] * 2


def test_a_failed_training_run_fails_the_command(answers: Answers) -> None:
    answers.give(RUN | {"status": "failed", "detail": "the loss was not finite"})
    result = answers.run("train", "shoes")
    assert result.exit_code == 1
    assert "the loss was not finite" in result.stderr


def test_lists_are_read_page_after_page(answers: Answers) -> None:
    answers.give({"items": [{"loop_id": f"l-{n}"} for n in range(200)], "next_cursor": "more"})
    answers.give({"items": [{"loop_id": "l-200"}], "next_cursor": None})
    assert len(json.loads(answers.run("loops", "list", "--json").stdout)) == 201
    assert answers.asked[1].url.params["cursor"] == "more"


def test_an_export_is_lines_that_an_import_takes(answers: Answers, tmp_path: Path) -> None:
    first = {"decision_id": "d-1", "decided_at": "2026-11-23T14:05:00Z", "action_id": "b", "reward": 1.0}
    experience = first | {"probability": 0.25, "revision": 2}
    answers.give({"items": [experience, experience | {"reward": 0.5, "revision": 1}], "next_cursor": None})
    ranking = [{"id": "b"}, {"id": "a"}]
    episode = {"episode_id": None, "previous_decision_id": None, "end": None}
    answers.give({"context": {"title": "Red shoe"}, "ranking": ranking} | episode)
    assert answers.run("export", "shoes", "-o", str(tmp_path / "out")).exit_code == 0
    (row,) = map(json.loads, (tmp_path / "out").read_text().splitlines())
    assert row == {
        "decision_id": "d-1",
        "time": "2026-11-23T14:05:00Z",
        "action_id": "b",
        "probability": 0.25,
        "reward": 1.0,
        "context": {"title": "Red shoe"},
        "actions": [{"id": "a"}, {"id": "b"}],
    }


def test_an_import_that_skips_lines_fails_and_says_which(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"a": 1}\n\n{"b": 2}')
    skipped = [{"line": 2, "reason": "no action"}]
    answers.give({"accepted": 1, "duplicates": 0, "skipped": skipped, "skipped_total": 1})
    result = answers.run("import", "shoes", str(tmp_path / "log"), "--format", "dsjson")
    assert answers.asked[0].url.params["format"] == "dsjson"
    assert result.exit_code == 1
    assert "line 2: no action" in result.stderr
    assert answers.bodies() == [b'{"a": 1}\n\n{"b": 2}']


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ("uniform", "uniform"),
        ("version:7", {"model_version": "7"}),
        ("constant:a", {"constant": "a"}),
        ('{"probabilities": {"a": 1.0}}', {"table": {"probabilities": {"a": 1.0}}}),
    ],
)
def test_an_evaluation_names_its_target(answers: Answers, told: str, sent: object) -> None:
    answers.give({"evaluation_id": "e-1", "status": "queued"}, 202)
    estimate = {"value": 0.25, "normal": [0.125, 0.375], "bootstrap": None, "empirical_bernstein": None}
    result = {"rows": 90, "verdict": "too_little", "warnings": ["Too little"], "logged": estimate}
    answers.give({"evaluation_id": "e-1", "status": "succeeded", "result": result | {"estimates": {"dr": estimate}}})
    ended = answers.run("evaluate", "shoes", told, "--estimator", "dr", "--since", "2026-11-01T00:00:00Z")
    assert ended.exit_code == 0
    assert "0.125, 0.375" in ended.stdout
    assert "warning: Too little" in ended.stderr
    window = {"since": "2026-11-01T00:00:00Z"}
    assert json.loads(answers.bodies()[0]) == {"target": sent, "estimators": ["dr"], "window": window}
    assert answers.calls()[1] == ("GET", "/v1/loops/shoes/evaluations/e-1")


def test_a_target_that_is_none_is_a_usage_error(answers: Answers) -> None:
    assert answers.run("evaluate", "shoes", "best").exit_code == 2
    assert answers.asked == []


def test_a_rollout_is_started_and_steered(answers: Answers) -> None:
    answers.give({"rollout_id": "o-1", "status": "running"}, 201)
    more = '{"guardrails": {"reward": 0.9}}'
    answers.run(
        "rollout", "start", "shoes", "7", "--strategy", "canary", "--step", "5", "--step", "25", "--settings", more
    )
    assert json.loads(answers.bodies()[0]) == {
        "model_version": "7",
        "strategy": "canary",
        "steps": [5, 25],
        "guardrails": {"reward": 0.9},
    }
    for verb in ("pause", "resume", "promote", "rollback"):
        answers.give({"rollout_id": "o-1", "status": f"{verb}d"})
        assert f"{verb}d" in answers.run("rollout", verb, "shoes", "o-1").stderr
        assert answers.calls()[-1] == ("POST", f"/v1/loops/shoes/rollouts/o-1/{verb}")
    answers.give({"rollout_id": "o-1", "status": "rolled_back", "events": [{"kind": "rolled_back", "detail": "worse"}]})
    assert "worse" in answers.run("rollout", "show", "shoes", "o-1").stdout
    answers.give({"decisions": 8000})
    assert "8000" in answers.run("rollout", "plan", "shoes", "--base-reward", "0.1", "--", "-0.3").stdout
    assert json.loads(answers.bodies()[-1]) == {"lift": -0.3, "share": 0.1, "base_reward": 0.1}
    assert answers.calls()[-1] == ("POST", "/v1/loops/shoes/rollouts:plan")


def test_dead_letters_are_replayed_and_deleted_by_an_escaped_id(answers: Answers) -> None:
    answers.give({"items": [{"dead_letter_id": "x/1", "topic": "t", "reason": "cut"}], "next_cursor": None})
    assert "cut" in answers.run("dead-letters", "list").stdout
    answers.given.append(httpx.Response(204))
    assert answers.run("dead-letters", "replay", "x/1").exit_code == 0
    answers.given.append(httpx.Response(204))
    assert answers.run("dead-letters", "delete", "x/1").exit_code == 0
    paths = [request.url.raw_path.decode() for request in answers.asked[1:]]
    assert paths == ["/v1/dead-letters/x%2F1/replay", "/v1/dead-letters/x%2F1"]
