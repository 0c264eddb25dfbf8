"""The platform on real PostgreSQL and Redis, which are killed under it."""

from collections.abc import Iterator
from itertools import islice

import httpx
import pytest

from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from tests.conftest import serving
from tests.e2e import product
from tests.e2e.conftest import Platform, running, until

LOOP = "digits"
ENDS = ("succeeded", "skipped")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresqlServer, RedisServer]]:
    """Of this file's own, to kill."""
    serving(PostgresqlServer), serving(RedisServer)
    folder = tmp_path_factory.mktemp("servers")
    postgresql, redis = PostgresqlServer(folder / "postgresql"), RedisServer(folder / "redis")
    postgresql.start()
    redis.start()
    yield postgresql, redis
    postgresql.stop()
    redis.stop()


@pytest.fixture(scope="module")
def shared_platform(
    servers: tuple[PostgresqlServer, RedisServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    variables = {server.variable: server.address for server in servers}
    with running(tmp_path_factory.mktemp("platform") / "state", variables=variables) as platform:
        with platform.client() as http:
            product.put_loop(http, LOOP)
        yield platform


def visit(http: httpx.Client, count: int, seed: int) -> None:
    for one in islice(product.visits(seed), count):
        product.tell(http, LOOP, product.decide(http, LOOP, one), one)


def joined(http: httpx.Client) -> int:
    experiences: int = product.statistics(http, LOOP)["experiences"]
    return experiences


def test_nothing_is_kept_in_files_that_a_server_keeps(http: httpx.Client, shared_platform: Platform) -> None:
    visit(http, 40, seed=1)
    until(lambda: joined(http) == 40, "all is joined")
    assert not (shared_platform.home / "rewardloop.db").exists()
    assert not (shared_platform.home / "broker").exists()


def test_a_fine_tune_that_was_asked_for_while_redis_was_away_is_done(
    http: httpx.Client, servers: tuple[PostgresqlServer, RedisServer]
) -> None:
    _, redis = servers
    redis.kill()
    run = http.post(f"/v1/loops/{LOOP}/training-runs", json={}).raise_for_status().json()["training_run_id"]
    redis.start()
    asked = f"/v1/loops/{LOOP}/training-runs/{run}"
    until(lambda: http.get(asked).json()["status"] in ENDS, "the run ends", 120)


def test_decisions_and_feedback_are_taken_while_postgresql_is_away_and_joined_when_it_is_back(
    http: httpx.Client, servers: tuple[PostgresqlServer, RedisServer]
) -> None:
    postgresql, _ = servers
    until(lambda: joined(http) == product.statistics(http, LOOP)["decisions"], "all is joined")
    before = joined(http)
    postgresql.kill()
    visit(http, 20, seed=2)
    postgresql.start()
    until(lambda: joined(http) == before + 20, "all is joined")
    found = product.statistics(http, LOOP)
    assert found["decisions"] == found["feedback"] == before + 20
    assert found["dangling_feedback"] == found["duplicate_feedback"] == 0
