"""Celery as every process sees it: the tasks' names, the broker, and what a message holds. Imports no torch."""

import json
from pathlib import Path
from typing import Final

from celery import Celery
from kombu.transport import filesystem
from uuid_utils import uuid7

from shared.domain import EvaluationRef, RunRef
from shared.settings import PlatformSettings

RUN_TRAINING: Final = "rewardloop.run_training"
RUN_EVALUATION: Final = "rewardloop.run_evaluation"
SCHEDULE: Final = "rewardloop.schedule_training"
REPORT: Final = "rewardloop.report_loop"
SCHEDULE_REPORTS: Final = "rewardloop.schedule_reports"
COLLECT_VERSIONS: Final = "rewardloop.collect_versions"
CONTROL_ROLLOUTS: Final = "rewardloop.control_rollouts"
DELIVER_WEBHOOKS: Final = "rewardloop.deliver_webhooks"
QUEUE: Final = "training"
# Of what must not wait for a fine-tune.
CONTROL: Final = "control"
# How often beat has due runs looked for; a tick that no worker took until the next one is dropped.
TICK_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.1
REDIS_SECONDS: Final = 1.0
# Of several beats one ticks; another takes its place when it was silent for so long.
BEAT_LOCK_SECONDS: Final = 10


class _Channel(filesystem.Channel):
    """Kombu's own writes a message where readers look for it, so that a quick one reads half of it and dies."""

    def _put(self, queue: str, payload: object, **kwargs: object) -> None:  # type: ignore[override] # its bases differ
        folder = Path(self.data_folder_out)
        part = folder / f".{uuid7()}"
        part.write_text(json.dumps(payload), encoding="utf-8")
        part.rename(folder / f"{uuid7()}.{queue}.msg")


class Transport(filesystem.Transport):
    """Celery's filesystem broker, with whole messages only and in order of time."""

    Channel = _Channel


def celery_app(settings: PlatformSettings) -> Celery:
    """The application by which tasks are sent and, in the trainer, run; its broker is Redis or a folder.

    It has no result backend: who sends a task would wait for that too.
    """
    app = Celery("rewardloop", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_default_queue=QUEUE,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_schedule={
            "schedule_training": {
                "task": SCHEDULE,
                "schedule": TICK_SECONDS,
                "options": {"expires": TICK_SECONDS, "ignore_result": True},
            },
            "deliver_webhooks": {
                "task": DELIVER_WEBHOOKS,
                "schedule": TICK_SECONDS,
                "options": {"queue": CONTROL, "expires": TICK_SECONDS, "ignore_result": True},
            },
            "control_rollouts": {
                "task": CONTROL_ROLLOUTS,
                "schedule": TICK_SECONDS,
                "options": {"queue": CONTROL, "expires": TICK_SECONDS, "ignore_result": True},
            },
        },
        **(_folder(settings.broker_folder) if settings.broker_url is None else _redis(settings.broker_url)),
    )
    return app


def _folder(folder: Path) -> dict[str, object]:
    """A broker of files, whose folders are made."""
    messages, control = folder / "messages", folder / "control"
    for made in (messages, control):
        made.mkdir(parents=True, exist_ok=True)
    _bind_queues(control)
    return {
        "broker_url": "filesystem://localhost/",
        "broker_transport": f"{Transport.__module__}:{Transport.__name__}",
        "broker_transport_options": {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": POLL_SECONDS,
        },
    }


def _redis(url: str) -> dict[str, object]:
    """A Redis that may be away, or frozen, at any time: whoever sends a hint waits for it a moment only."""
    # The embedded profile has no client of Redis.
    from shared.redis_transport import register

    register()
    sockets = {
        "socket_timeout": REDIS_SECONDS,
        "socket_connect_timeout": REDIS_SECONDS,
        "socket_keepalive": True,
    }
    return {
        "broker_url": url,
        "broker_connection_timeout": REDIS_SECONDS,
        # The worker goes on looking for it.
        "broker_connection_max_retries": None,
        "broker_transport_options": {**sockets, "max_retries": 1, "interval_start": 0, "interval_step": POLL_SECONDS},
        "task_publish_retry": False,
        "beat_max_loop_interval": TICK_SECONDS,
        "redbeat_redis_url": url,
        "redbeat_redis_options": sockets,
        "redbeat_lock_timeout": BEAT_LOCK_SECONDS,
    }


def _bind_queues(control: Path) -> None:
    """Kombu writes a binding in place, so that of two processes that start at once one reads half of it."""
    for queue in (QUEUE, CONTROL):
        table = control / f"{queue}.exchange"
        if not table.exists():
            part = control / f".{uuid7()}"
            part.write_text(json.dumps([[queue, "", queue]]), encoding="utf-8")
            part.rename(table)


def enqueue_run(app: Celery, run: RunRef) -> None:
    """Hints to a worker that a run's row waits; call it after the row is committed. It blocks for seconds at most.

    Raises:
        kombu.exceptions.OperationalError: the broker is away; beat sends the hint again by itself.
    """
    app.send_task(RUN_TRAINING, args=[run.tenant, run.loop_id, run.training_run_id])


def enqueue_evaluation(app: Celery, ref: EvaluationRef) -> None:
    """Hints to a worker that an evaluation's row waits; call it after the row is committed. It blocks for seconds at
    most.

    Raises:
        kombu.exceptions.OperationalError: the broker is away; beat sends the hint again by itself.
    """
    app.send_task(RUN_EVALUATION, args=[ref.tenant, ref.loop_id, ref.evaluation_id])
