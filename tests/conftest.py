"""Fixtures for every tier of tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, TypeVar

import hypothesis
import pytest
from sqlalchemy import Engine
from uuid_utils import uuid7

from deploy.local.home import running
from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from deploy.local.server import LocalServer, ServerError
from tests.databases import open_empty

# Where this run of the tests starts servers: told to its workers, which inherit the environment.
SERVICES_FOLDER = "REWARDLOOP_TEST_SERVICES"
SHARED_FOLDER = "REWARDLOOP_SHARED"
REQUIRE_SERVICES = "REWARDLOOP_REQUIRE_SERVICES"

# How long an example takes says how busy the machine is; Hypothesis would take the first one's start-up for a bug.
hypothesis.settings.register_profile("rewardloop", deadline=None)
hypothesis.settings.load_profile("rewardloop")

ServerT = TypeVar("ServerT", bound=LocalServer)


def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        os.environ[SERVICES_FOLDER] = tempfile.mkdtemp(prefix="rewardloop-services-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the servers that this run has started, once all of its workers are done."""
    if not _is_worker(config):
        folder = Path(os.environ.pop(SERVICES_FOLDER))
        for server in running(folder).values():
            server.stop()
        shutil.rmtree(folder)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def serving(server: type[ServerT]) -> ServerT:
    """The server that `make services` has started, or one that this run of the tests starts and ends."""
    found = running().get(server.name)
    if isinstance(found, server):
        return found
    own = server(Path(os.environ[SERVICES_FOLDER]) / server.name)
    try:
        own.start()
    except ServerError as error:
        do_without(str(error))
    return own


def do_without(why: str) -> NoReturn:
    """Skips the test for want of what it needs; where nothing may be wanting, as in CI, it fails."""
    if os.environ.get(REQUIRE_SERVICES):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def kafka_servers() -> str:
    """ "host:port" of a real broker; topics are the test's own to make."""
    return serving(KafkaServer).address


@pytest.fixture(scope="session")
def postgresql() -> PostgresqlServer:
    """A real PostgreSQL, which all tests share."""
    return serving(PostgresqlServer)


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """SQLAlchemy's URL of a database of the test's own, without tables."""
    name = f"test_{uuid7().hex}"
    yield postgresql.create_database(name)
    postgresql.drop_database(name)


@pytest.fixture(scope="session")
def worker_database(postgresql: PostgresqlServer) -> Iterator[str]:
    """SQLAlchemy's URL of a PostgreSQL database that this worker's tests use one after the other."""
    name = f"test_{uuid7().hex}"
    yield postgresql.create_database(name)
    postgresql.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLAlchemy's URL of a database of either kind: the test runs on both. `open_empty` opens it."""
    if request.param == "sqlite":
        return "sqlite://"
    url: str = request.getfixturevalue("worker_database")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A database of either kind with the platform's tables, empty."""
    engine = open_empty(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def empty_postgresql(worker_database: str) -> Iterator[Engine]:
    """A PostgreSQL database with the platform's tables, empty."""
    engine = open_empty(worker_database)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A real Redis, at a database that this worker has for itself; it may hold what the test before left."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return serving(RedisServer).address.removesuffix("/0") + f"/{int(worker) % 15 + 1}"


@pytest.fixture
def redis(redis_url: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to kill and freeze."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, beside the project or in $REWARDLOOP_SHARED; tests skip where it is not."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get(SHARED_FOLDER, beside)) / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="also what takes minutes: whole streams, learning figures")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-long", default=False):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: --run-long runs it"))
