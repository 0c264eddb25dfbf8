"""Fixtures for every tier of tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is not."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def kafka_servers() -> str:
    """A broker's host:port."""
    servers = os.environ.get("REWARDLOOP_TEST_KAFKA")
    if servers is None:
        pytest.skip("REWARDLOOP_TEST_KAFKA names no Kafka broker")
    return servers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="also what takes minutes: whole streams, learning figures")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-long", default=False):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --run-long runs it"))
