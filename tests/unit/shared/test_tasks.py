import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from shared.domain import RunRef
from shared.settings import PlatformSettings
from shared.tasks import QUEUE, RUN_TRAINING, celery_app, enqueue_run


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Celery]:
    with celery_app(PlatformSettings(home=tmp_path)) as app:
        yield app


def test_a_hint_holds_the_ids_of_its_run_and_nothing_else(app: Celery) -> None:
    enqueue_run(app, RunRef("acme", "news", "run-1"))
    with app.connection() as connection:
        queue = connection.SimpleQueue(app.amqp.queues[QUEUE])
        message = queue.get(timeout=5)
        queue.close()
    assert message.headers["task"] == RUN_TRAINING
    assert message.content_type == "application/json"
    assert message.payload[:2] == [["acme", "news", "run-1"], {}]


def test_a_reader_that_is_quick_sees_whole_messages_in_the_order_they_were_sent(app: Celery) -> None:
    runs = [f"run-{number}" for number in range(200)]

    def send() -> None:
        for run in runs:
            enqueue_run(app, RunRef("acme", "news", run))

    sender = threading.Thread(target=send)
    sender.start()
    with app.connection() as connection:
        queue = connection.SimpleQueue(app.amqp.queues[QUEUE])
        seen = [queue.get(timeout=5).payload[0][2] for _ in runs]
        queue.close()
    sender.join()
    assert seen == runs


def test_sending_needs_no_torch() -> None:
    code = "import sys, shared.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_worker_finds_the_queue_bound(tmp_path: Path) -> None:
    """As kombu would have written it: it then writes nothing, and nobody reads half of it."""
    with celery_app(PlatformSettings(home=tmp_path)) as app:
        table = tmp_path / "broker" / "control" / f"{QUEUE}.exchange"
        before = table.stat().st_mtime_ns, table.read_text()
        with app.connection() as connection:
            app.amqp.queues[QUEUE](connection.channel()).declare()
        assert (table.stat().st_mtime_ns, table.read_text()) == before
