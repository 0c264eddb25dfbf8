"""The command line on a running platform: a loop from its making to a trained version, and its log taken elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from services.__main__ import cli
from tests.e2e.conftest import KEY, Platform, until
from tests.e2e.product import statistics

LOOP = {
    "modalities": {"title": {"kind": "text"}},
    "actions": [{"id": "a"}, {"id": "b"}],
    "learning": {"interval": "PT1H", "min_experiences": 1, "max_steps": 20},
}
DECISIONS = 6


@pytest.fixture
def shell(shared_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("REWARDLOOP_URL", shared_platform.url)
    monkeypatch.setenv("REWARDLOOP_KEY", KEY)
    monkeypatch.setenv("REWARDLOOP_HOME", str(shared_platform.home))
    return CliRunner()


def answer(shell: CliRunner, *arguments: str) -> Any:  # JSON, whatever it holds
    result = shell.invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, (arguments, result.output)
    return json.loads(result.stdout)


def test_a_loop_lives_by_commands_alone(shell: CliRunner, http: httpx.Client, tmp_path: Path) -> None:
    answer(shell, "loops", "put", "typed", json.dumps(LOOP))
    for number in range(DECISIONS):
        decision = answer(shell, "decide", "typed", "--text", f"title=shoe {number}")
        answer(shell, "feedback", "typed", decision["decision_id"], str(number % 2))
    until(lambda: statistics(http, "typed")["experiences"] == DECISIONS, "the experiences are joined")
    assert answer(shell, "train", "typed")["status"] in ("succeeded", "skipped")
    assert answer(shell, "statistics", "typed")["decisions"] == DECISIONS

    exported = tmp_path / "typed.ndjson"
    assert shell.invoke(cli, ["export", "typed", "-o", str(exported)]).exit_code == 0
    answer(shell, "loops", "put", "typed-again", json.dumps(LOOP))
    assert answer(shell, "import", "typed-again", str(exported))["accepted"] == DECISIONS
    until(lambda: statistics(http, "typed-again")["experiences"] == DECISIONS, "the import is joined")
    assert answer(shell, "import", "typed-again", str(exported))["duplicates"] == DECISIONS
    assert statistics(http, "typed-again")["reward"]["mean"] == statistics(http, "typed")["reward"]["mean"] == 0.5


def test_the_doctor_finds_nothing_wrong_with_a_running_platform(shared_platform: Platform) -> None:
    environment = os.environ | {
        "REWARDLOOP_URL": shared_platform.url,
        "REWARDLOOP_KEY": KEY,
        "REWARDLOOP_HOME": str(shared_platform.home),
    }
    arguments = [sys.executable, "-m", "services", "doctor", "--json"]
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    seen = {finding["what"]: finding["state"] for finding in json.loads(ended.stdout)}
    assert {"database", "gateway", "encoding", "fusion", "policy", "key", "clock"} <= seen.keys()
    assert set(seen.values()) == {"fine"}
