"""Settings that make no sense are told by the names of their variables, with what they mean, and never their values."""

from pathlib import Path

import pytest

from services.feedback.settings import FeedbackSettings
from shared.settings import PlatformSettings, told


@pytest.mark.parametrize("servers", ["host:notaport", "", "a:1,,b:2", "http://host:1", "host:1 "])
def test_addresses_of_brokers_that_are_none(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLOOP_KAFKA_SERVERS", servers)
    with pytest.raises(SystemExit) as ended:
        told(PlatformSettings)
    assert str(ended.value).startswith("REWARDLOOP_KAFKA_SERVERS: ")
    assert "host:port of some brokers" in str(ended.value)


@pytest.mark.parametrize("servers", ["host", "127.0.0.1:9092", "a.example:9092,b.example:9092", "[::1]:9092"])
def test_addresses_of_brokers(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLOOP_KAFKA_SERVERS", servers)
    assert told(PlatformSettings).kafka_servers == servers


def test_each_setting_has_a_line_and_no_value_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLOOP_JOINER_BATCH", "s3cret")
    monkeypatch.setenv("REWARDLOOP_LOG_LEVEL", "s3cret")
    with pytest.raises(SystemExit) as ended:
        told(FeedbackSettings)
    lines = str(ended.value).splitlines()
    assert {line.split(":")[0] for line in lines} == {"REWARDLOOP_JOINER_BATCH", "REWARDLOOP_LOG_LEVEL"}
    assert "s3cret" not in str(ended.value)


def test_certificates_for_grpc_come_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "one.pem"
    file.touch()
    monkeypatch.setenv("REWARDLOOP_GRPC_CERTIFICATE", str(file))
    with pytest.raises(SystemExit) as ended:
        told(PlatformSettings)
    assert (
        "REWARDLOOP_GRPC_AUTHORITY: Value error, grpc_certificate, grpc_key and grpc_authority belong together"
        in str(ended.value)
    )
    monkeypatch.setenv("REWARDLOOP_GRPC_KEY", str(tmp_path / "another.pem"))
    with pytest.raises(SystemExit) as ended:
        told(PlatformSettings)
    assert "REWARDLOOP_GRPC_KEY: Path does not point to a file" in str(ended.value)
