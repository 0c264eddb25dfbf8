"""Commands over a gateway: what they change, what they print, how they fail."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from shared.domain import Feedback
from shared.events import DECISIONS, FEEDBACK
from tests.unit.services.cli.conftest import Answers, Run, run_with
from tests.unit.services.gateway.fakes import Gateway


def test_a_loop_is_put_listed_shown_and_deleted(run: Run, tmp_path: Path) -> None:
    settings = tmp_path / "hats.json"
    settings.write_text('{"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}')
    assert run("loops", "put", "hats", f"@{settings}").exit_code == 0
    listed = json.loads(run("loops", "list", "--json").stdout)
    assert [loop["loop_id"] for loop in listed] == ["hats", "shoes"]
    table = run("loops", "list").stdout
    assert "thompson" in table
    assert "hats" in table
    shown = json.loads(run("loops", "show", "hats", "--json").stdout)
    assert [action["id"] for action in shown["actions"]] == ["a", "b"]
    # What was shown may be put again: nothing changes.
    assert "settings revision 1" in run("loops", "put", "hats", "@-", stdin=json.dumps(shown)).stderr
    assert run("loops", "delete", "hats", "--yes").exit_code == 0
    assert [loop["loop_id"] for loop in json.loads(run("loops", "list", "--json").stdout)] == ["shoes"]


def test_deleting_asks_first(run: Run) -> None:
    assert run("loops", "delete", "shoes", stdin="n\n").exit_code == 1
    assert run("loops", "show", "shoes").exit_code == 0
    assert run("loops", "delete", "shoes", stdin="y\n").exit_code == 0
    assert run("loops", "show", "shoes").exit_code == 1


def test_a_loop_is_frozen_and_unfrozen(run: Run) -> None:
    assert "its champion serves" in run("loops", "freeze", "shoes", "--serve", "champion").stderr
    assert json.loads(run("loops", "show", "shoes", "--json").stdout)["frozen_to"] == "champion"
    assert "frozen" in run("train", "shoes").stderr
    run("loops", "unfreeze", "shoes")
    assert json.loads(run("loops", "show", "shoes", "--json").stdout)["frozen_to"] is None


def test_a_problem_is_one_message_with_its_field(run: Run) -> None:
    result = run("loops", "put", "hats", '{"modalities": {"title": {"kind": "smell"}}}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("rewardloop: A field is not valid: ")
    assert result.stderr.endswith("(field: modalities.title.kind)\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("@no-such-file.json", "no-such-file.json: No such file or directory"),
        ("hats.json", "of a file: @hats.json"),
        ("[1]", "not a JSON object"),
    ],
)
def test_settings_that_cannot_be_read_are_told(run: Run, settings: str, told: str) -> None:
    result = run("loops", "put", "hats", settings)
    assert result.exit_code == 1
    assert told in result.stderr


def test_a_key_is_made_used_and_revoked(run: Run, gateway: Gateway) -> None:
    made = run("keys", "create", "decide")
    key = made.stdout.strip()
    key_id = next(row["key_id"] for row in json.loads(run("keys", "list", "--json").stdout) if row["role"] == "decide")
    assert key_id in made.stderr

    async def status() -> int:
        async with gateway.client(key) as client:
            return (await client.post("/v1/loops/shoes/decisions", json={})).status_code

    assert asyncio.run(status()) == 200
    assert run("keys", "revoke", key_id).exit_code == 0
    assert asyncio.run(status()) == 401
    assert run("keys", "revoke", "no-such-key").exit_code == 1


def test_a_decision_is_made_from_texts_files_and_json(run: Run, gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "shoe.png").write_bytes(PNG)
    context = '{"user": {"age": 31}}'
    photo = f"photo={tmp_path / 'shoe.png'}"
    told = ("--context", context, "--text", "title=Red shoe", "--file", photo, "--action", "b", "--id", "d-1")
    decision = json.loads(run("decide", "shoes", *told, "--json").stdout)
    assert (decision["decision_id"], decision["action_id"]) == ("d-1", "b")
    (made,) = gateway.log.events(DECISIONS)
    assert sorted(made.context) == ["photo", "title", "user"]
    assert "no_model_yet" in run("decide", "shoes", "--action", "b").stdout


def test_feedback_is_a_number_a_text_or_a_file(run: Run, gateway: Gateway, tmp_path: Path) -> None:
    run("decide", "shoes", "--id", "d-1")
    assert run("feedback", "shoes", "d-1", "0.5", "--metric", "click").exit_code == 0
    assert run("feedback", "shoes", "d-1", "a red shoe", "--metric", "caption").exit_code == 0
    file = tmp_path / "events.ndjson"
    file.write_text('{"decision_id": "d-1", "metric": "dwell", "value": 3}\n\n' * 1001)
    assert json.loads(run("feedback", "shoes", "--file", str(file), "--json").stdout) == {"accepted": 1001}
    events = [event for event in gateway.log.events(FEEDBACK) if isinstance(event, Feedback)]
    assert [event.value for event in events[:3]] == [0.5, "a red shoe", 3.0]
    assert len(events) == 1003
    assert run("feedback", "shoes").exit_code == 2
    assert run("feedback", "shoes", "d-1").exit_code == 2


def test_two_versions_are_told_apart(run: Run, gateway: Gateway) -> None:
    for version in (1, 2):
        asyncio.run(gateway.publish("shoes", version))
    assert [row["version"] for row in json.loads(run("models", "list", "shoes", "--json").stdout)] == ["2", "1"]
    assert json.loads(run("models", "show", "shoes", "2", "--json").stdout)["parent"] == "1"
    assert json.loads(run("models", "diff", "shoes", "1", "2", "--json").stdout) == []
    run("loops", "put", "shoes", '{"modalities": {"title": {"kind": "text"}}, "exploration": {"floor": 0.1}}')
    asyncio.run(gateway.publish("shoes", 3))
    rows = {row["what"]: row for row in json.loads(run("models", "diff", "shoes", "2", "3", "--json").stdout)}
    assert (rows["settings.exploration.floor"]["left"], rows["settings.exploration.floor"]["right"]) == (0.005, 0.1)
    assert rows["settings.modalities.photo.kind"]["right"] is None


def test_statistics_show_counts_and_warnings(run: Run) -> None:
    run("loops", "put", "one", '{"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}]}')
    result = run("statistics", "one")
    assert "experiences" in result.stdout
    assert "warning: The loop lists one action" in result.stderr
    assert json.loads(run("statistics", "one", "--json").stdout)["experiences"] == 0


def test_a_platform_that_is_away_is_told_as_such() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    with httpx.Client(base_url="http://platform", transport=httpx.MockTransport(refuse)) as http:
        result = run_with(http)("loops", "list")
    assert result.exit_code == 3
    assert "rewardloop up" in result.stderr


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_what_is_no_gateway_is_told_as_such(answers: Answers, body: bytes) -> None:
    answers.given.append(httpx.Response(200, content=body))
    result = answers.run("loops", "show", "shoes")
    assert (result.exit_code, "it is no gateway" in result.stderr) == (3, True)


def test_without_a_key_it_says_where_one_would_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from services.__main__ import cli

    monkeypatch.delenv("REWARDLOOP_KEY", raising=False)
    monkeypatch.setenv("REWARDLOOP_HOME", str(tmp_path))
    result = CliRunner().invoke(cli, ["loops", "list"])
    assert result.exit_code == 1
    assert "set REWARDLOOP_KEY" in result.stderr


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)
