"""Redis as Celery's broker, killed and frozen: hints are lost and nothing else is."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from kombu import Message
from kombu.exceptions import OperationalError
from redis import Redis
from sqlalchemy import Engine

from deploy.local.redis import RedisServer
from services.gateway.training import tell_trainer
from shared.db.engine import read_session
from shared.domain import RunRef
from shared.registry.versions import read_versions
from shared.settings import PlatformSettings
from shared.tasks import QUEUE, celery_app, enqueue_run
from tests.databases import open_empty
from tests.integration.test_trainer import kill, process, read, until
from tests.unit.services.trainer import bandit

RUN = RunRef("acme", "news", "run-1")
LOCK = "redbeat::lock"
# A request that waits longer has failed.
PATIENCE_SECONDS = 10.0


@pytest.fixture
def app(redis: RedisServer, tmp_path: Path) -> Iterator[Celery]:
    settings = PlatformSettings(home=tmp_path, broker_url=redis.address)
    open_empty(settings.database).dispose()
    app = celery_app(settings)
    yield app
    app.close()


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Redis]:
    with Redis.from_url(redis.address) as client:
        yield client


@pytest.fixture(params=["killed", "frozen"])
def away(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Callable[[], None]]:
    """Takes Redis away, in one of two ways; calling `redis.start()` or `redis.resume()` brings it back."""
    yield redis.kill if request.param == "killed" else redis.suspend
    redis.resume()


def bring_back(redis: RedisServer) -> None:
    redis.resume()
    redis.start()


def queued(client: Redis) -> int:
    return client.llen(QUEUE)


def test_a_hint_goes_through_redis_and_no_file_is_written(app: Celery, client: Redis, tmp_path: Path) -> None:
    enqueue_run(app, RUN)
    assert queued(client) == 1
    assert not (tmp_path / "broker").exists()


def test_a_hint_is_given_up_on_while_redis_is_away(app: Celery, redis: RedisServer, away: Callable[[], None]) -> None:
    enqueue_run(app, RUN)
    away()
    with ThreadPoolExecutor(1) as thread, pytest.raises(OperationalError):
        thread.submit(enqueue_run, app, RUN).result(PATIENCE_SECONDS)
    bring_back(redis)
    enqueue_run(app, RUN)


def test_a_request_does_not_fail_while_redis_is_away(app: Celery, away: Callable[[], None]) -> None:
    away()
    with ThreadPoolExecutor(4) as threads:
        told = [threads.submit(tell_trainer, partial(enqueue_run, app), RUN) for _ in range(8)]
        assert [one.result(2 * PATIENCE_SECONDS) for one in told] == [None] * 8


def test_of_two_beats_one_ticks_and_the_other_takes_its_place(
    app: Celery, redis: RedisServer, client: Redis, tmp_path: Path
) -> None:
    with ExitStack() as beats:
        first = beats.enter_context(process(tmp_path, "beat", REWARDLOOP_BROKER_URL=redis.address))
        until(lambda: queued(client) > 0, first)
        holder = client.get(LOCK)
        second = beats.enter_context(process(tmp_path, "beat", REWARDLOOP_BROKER_URL=redis.address))
        seen = queued(client)
        until(lambda: queued(client) > seen + 1, first, second)
        assert client.get(LOCK) == holder
        kill(first)
        seen = queued(client)
        until(lambda: queued(client) > seen, second)
        assert client.get(LOCK) != holder
        second.terminate()
        assert second.wait(PATIENCE_SECONDS) == 0
        assert client.get(LOCK) is None


def test_beat_goes_on_when_redis_is_back(
    app: Celery, redis: RedisServer, client: Redis, away: Callable[[], None], tmp_path: Path
) -> None:
    with process(tmp_path, "beat", REWARDLOOP_BROKER_URL=redis.address) as beat:
        until(lambda: queued(client) > 0, beat)
        away()
        with pytest.raises(OperationalError):
            enqueue_run(app, RUN)
        bring_back(redis)
        seen = queued(client)
        until(lambda: queued(client) > seen, beat)


def test_a_run_that_is_delivered_twice_makes_one_version_whatever_becomes_of_redis(
    app: Celery, redis: RedisServer, empty_postgresql: Engine, tmp_path: Path
) -> None:
    engine = empty_postgresql
    bandit.add_loop(engine, bandit.settings())
    run = bandit.add_run(engine, "initialise")
    variables = {
        "REWARDLOOP_BROKER_URL": redis.address,
        "REWARDLOOP_DATABASE_URL": engine.url.render_as_string(hide_password=False),
    }
    with process(tmp_path, "worker", **variables) as worker, process(tmp_path, "beat", **variables) as beat:
        for _ in range(3):
            enqueue_run(app, run)
        until(lambda: read(engine, run).status == "succeeded", worker, beat)
        redis.kill()
        second = bandit.add_run(engine, "fine_tune")
        redis.start()
        enqueue_run(app, run)
        # A hint that the worker takes while it finds its connection gone is lost: beat gives another.
        until(lambda: read(engine, second).status == "skipped", worker, beat)
        assert _versions(engine) == [run.training_run_id]


def test_a_worker_takes_the_next_message_where_redis_did_not_take_its_acknowledgement(
    app: Celery, redis: RedisServer
) -> None:
    taken: list[Message] = []
    with app.connection_for_read() as connection, connection.channel() as channel:
        consumer = app.amqp.TaskConsumer(channel, callbacks=[lambda _, message: taken.append(message)])
        consumer.qos(prefetch_count=1)
        consumer.consume()
        enqueue_run(app, RUN)
        connection.drain_events(timeout=PATIENCE_SECONDS)
        redis.suspend()
        with pytest.raises(connection.connection_errors):
            taken[0].ack()
        redis.resume()
        enqueue_run(app, RUN)
        connection.drain_events(timeout=PATIENCE_SECONDS)
        assert len(taken) == 2
        taken[1].ack()


def _versions(engine: Engine) -> list[str]:
    with read_session(engine) as session:
        return [one.training_run_id for one in read_versions(session, bandit.TENANT, bandit.LOOP_ID)]
