"""The servers of `make services`, started for real in folders of the test's own."""

import json
import os
import socket
import subprocess
import sys

import psutil
import pytest
from sqlalchemy import create_engine, text

from deploy.local.home import running
from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from deploy.local.server import ServerError, accepts
from tests.conftest import serving


def test_a_server_is_found_again_and_ended_by_another_process(redis: RedisServer) -> None:
    assert running(redis.folder.parent).keys() == {"redis"}
    code = "import sys; from pathlib import Path; from deploy.local.redis import RedisServer as S; "
    ended = f"{code} sys.exit(not S(Path(sys.argv[1])).stop())"
    assert subprocess.run([sys.executable, "-c", ended, redis.folder], check=False).returncode == 0
    assert redis.process() is None
    assert not accepts(redis.identity.port)


def test_a_server_keeps_its_address_over_a_crash(redis: RedisServer) -> None:
    before = redis.address
    redis.kill()
    assert not redis.answers()
    redis.start()
    assert redis.address == before
    assert redis.answers()


def test_a_suspended_server_answers_nothing_until_it_goes_on_or_is_stopped(redis: RedisServer) -> None:
    redis.suspend()
    assert not redis.answers()
    redis.resume()
    assert redis.answers()
    redis.suspend()
    assert redis.stop()
    assert redis.process() is None


def test_starting_twice_starts_one(redis: RedisServer) -> None:
    first = redis.process()
    redis.start()
    assert redis.process() == first


def test_a_process_that_has_got_the_number_since_is_left_alone(redis: RedisServer) -> None:
    other = psutil.Process(os.getpid())
    noted = redis.folder / "server.pid"
    before = noted.read_text()
    noted.write_text(json.dumps({"pid": other.pid, "started": other.create_time() - 60}))
    assert redis.process() is None
    assert not redis.stop()
    noted.write_text(before)


def test_a_server_that_cannot_start_says_why(redis: RedisServer) -> None:
    redis.stop()
    taken = socket.create_server(("127.0.0.1", redis.identity.port))
    with taken, pytest.raises(ServerError, match=r"(?s)redis .*Address already in use"):
        redis.start()


def test_others_cannot_read_what_a_server_is_told(redis: RedisServer) -> None:
    modes = {path.name: path.stat().st_mode & 0o077 for path in redis.folder.iterdir() if "lock" not in path.name}
    assert set(modes.values()) == {0}, modes


def test_postgresql_syncs_every_commit_and_asks_for_its_password(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        settings = {name: connection.execute(text(f"SHOW {name}")).scalar() for name in ("fsync", "synchronous_commit")}
    assert settings == {"fsync": "on", "synchronous_commit": "on"}
    engine.dispose()
    nobody = create_engine(postgresql_url.replace(postgresql.identity.password, "guessed"))
    with pytest.raises(Exception, match="password authentication failed"):
        nobody.connect()


def test_a_broker_takes_connections(kafka_servers: str) -> None:
    assert accepts(int(kafka_servers.rpartition(":")[2]))
    assert serving(KafkaServer).address == kafka_servers
