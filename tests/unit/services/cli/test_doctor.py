"""The doctor finds what is wrong, says how to mend it, and touches nothing."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from services.__main__ import cli
from services.cli import checks
from services.cli.checks import Finding, Installation
from services.cli.connection import ConnectionSettings
from shared.db.engine import open_engine, write_session
from shared.db.upgrading import upgrade
from shared.settings import PlatformSettings

NOW = 1_795_000_000.0
DATE = "Wed, 18 Nov 2026 11:06:40 GMT"
READY = {"status": "ready", "services": {"encoding": True, "fusion": True, "policy": True}}

Make = Callable[..., Installation]
Handle = Callable[[httpx.Request], httpx.Response]


def away(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An installation on an empty state folder; its gateway answers as the test says."""

    def make(
        handle: Callable[[httpx.Request], httpx.Response] = away, clock: float = NOW, **settings: object
    ) -> Installation:
        platform = PlatformSettings(home=tmp_path, **settings)  # type: ignore[arg-type] # by name
        connection = ConnectionSettings(home=tmp_path, port=free_port())
        return Installation(lambda: clock, platform, connection, httpx.MockTransport(handle))

    return make


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found(check: Callable[[Installation], Iterator[Finding]], installation: Installation) -> dict[str, Finding]:
    return {finding.what: finding for finding in check(installation)}


def gateway(code: int = 200, loops: int = 200, **body: object) -> Handle:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/loops":
            return httpx.Response(loops, json={})
        return httpx.Response(code, json=READY | body, headers={"Date": DATE})

    return answer


def test_a_fresh_installation_has_nothing_wrong(make: Make, tmp_path: Path) -> None:
    installation = make()
    findings = [finding for check in checks.CHECKS for finding in check(installation)]
    assert [finding for finding in findings if finding.state == "wrong"] == []
    assert list(tmp_path.iterdir()) == []


def test_a_running_platform_has_nothing_wrong(make: Make, tmp_path: Path) -> None:
    key = tmp_path / "bootstrap.key"
    key.write_text("secret")
    key.chmod(0o600)
    findings = found(checks.check_platform, make(gateway()))
    assert {finding.state for finding in findings.values()} == {"fine"}
    assert {"gateway", "encoding", "fusion", "policy", "key", "clock"} == set(findings)


@pytest.mark.parametrize(
    ("handle", "what", "advice"),
    [
        (gateway(503, status="starting"), "gateway", "database"),
        (gateway(services={"encoding": False, "fusion": True, "policy": True}), "encoding", "fallback"),
        (gateway(loops=401), "key", "REWARDLOOP_KEY"),
        (lambda _: httpx.Response(200, text="a shop"), "gateway", "REWARDLOOP_URL"),
    ],
)
def test_what_is_wrong_with_the_platform_is_told(
    make: Make, tmp_path: Path, handle: Handle, what: str, advice: str
) -> None:
    (tmp_path / "bootstrap.key").write_text("secret")
    finding = found(checks.check_platform, make(handle))[what]
    assert (finding.state, advice in finding.advice) == ("wrong", True)


def test_clocks_that_disagree_are_told(make: Make) -> None:
    assert found(checks.check_platform, make(gateway(), clock=NOW + 60))["clock"].state == "wrong"
    assert found(checks.check_platform, make(clock=0.0))["clock"].state == "wrong"


def test_a_taken_port_is_told(make: Make) -> None:
    installation = make()
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.connection.port))
        other.listen()
        assert found(checks.check_platform, installation)["port"].state == "wrong"


def test_a_key_that_others_may_read_is_told(make: Make, tmp_path: Path) -> None:
    key = tmp_path / "bootstrap.key"
    key.write_text("secret")
    key.chmod(0o644)
    finding = found(checks.check_state_folder, make())["bootstrap.key"]
    assert (finding.state, f"chmod 600 {key}" in finding.advice) == ("wrong", True)


def test_a_state_folder_that_is_a_file_is_told(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    installation = Installation(lambda: NOW, PlatformSettings(home=tmp_path / "file" / "state"))
    assert found(checks.check_state_folder, installation)["state folder"].state == "wrong"


@pytest.mark.parametrize(("revision", "advice"), [("0001", "rewardloop init"), ("9999", "a newer release")])
def test_a_database_of_another_schema_is_told_and_left_alone(
    make: Make, tmp_path: Path, revision: str, advice: str
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'rewardloop.db'}")
    upgrade(engine)
    assert found(checks.check_database, make())["database"].state == "fine"
    with write_session(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()
    before = (tmp_path / "rewardloop.db").read_bytes()
    finding = found(checks.check_database, make())["database"]
    assert (finding.state, advice in finding.advice) == ("wrong", True)
    assert (tmp_path / "rewardloop.db").read_bytes() == before


def test_a_database_file_that_is_not_there_is_not_made(make: Make, tmp_path: Path) -> None:
    installation = make(database_url=f"sqlite:///{tmp_path / 'other.db'}")
    assert found(checks.check_database, installation)["database"].state == "fine"
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("url", ["no url", "postgresql+psycopg://user:secret@127.0.0.1:1/none"])
def test_a_database_that_is_away_is_told_without_its_password(make: Make, url: str) -> None:
    finding = found(checks.check_database, make(database_url=url))["database"]
    assert finding.state == "wrong"
    assert "secret" not in finding.seen


def test_addresses_where_nothing_listens_are_told(make: Make) -> None:
    port = free_port()
    addresses = {
        "kafka_servers": f"127.0.0.1:{port},localhost:{port}",
        "broker_url": f"redis://:secret@127.0.0.1:{port}/0",
    }
    findings = list(checks.check_addresses(make(**addresses)))
    assert [(finding.what, finding.state) for finding in findings] == [
        ("Kafka", "wrong"),
        ("Kafka", "wrong"),
        ("Redis", "wrong"),
    ]
    assert not any("secret" in finding.seen for finding in findings)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        states = [finding.state for finding in checks.check_addresses(make(broker_url=f"redis://127.0.0.1:{port}/0"))]
    assert states == ["fine", "fine"]


def test_the_command_fails_where_something_is_wrong(make: Make, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"], obj=make())
    assert result.exit_code == 0
    assert {"what": "torch", "state": "fine"}.items() <= json.loads(result.stdout)[1].items()
    result = CliRunner().invoke(cli, ["doctor"], obj=make(gateway(503), clock=0.0))
    assert result.exit_code == 1
    assert "things are wrong: gateway, clock, key" in result.stderr
