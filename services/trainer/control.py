"""What must not wait for a fine-tune: rollouts are led by a worker of their own, a thread beside beat."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from celery import Celery
from prometheus_client import CollectorRegistry

from services.trainer.observing import ControlMetrics
from services.trainer.rollout_controller import RolloutController
from services.trainer.settings import TrainerSettings
from services.trainer.shadow_reading import ShadowReader
from services.trainer.webhooks import Deliverer, post
from shared.clocks import wall
from shared.db.engine import open_engine
from shared.eventlog.opening import open_event_log
from shared.metrics import serve_metrics
from shared.tasks import CONTROL, CONTROL_ROLLOUTS, DELIVER_WEBHOOKS, celery_app

# Threads that wait for webhooks.
DELIVERING: Final = 4


def build_control_app(settings: TrainerSettings) -> Celery:
    """The application of the tasks on the queue `control`."""
    app = celery_app(settings)
    engine = open_engine(settings.database)
    registry = CollectorRegistry()
    metrics = ControlMetrics(registry)
    serve_metrics(settings, registry)
    controller = RolloutController(engine, wall, ShadowReader(open_event_log(settings, wall)), metrics)
    deliverer = Deliverer(engine, wall, post, ThreadPoolExecutor(DELIVERING, "webhooks").submit, metrics)

    def control_rollouts() -> None:
        controller.look()

    def deliver_webhooks() -> None:
        deliverer.look()

    # Not shared: beat's application in this process has other tasks.
    app.task(deliver_webhooks, name=DELIVER_WEBHOOKS, ignore_result=True, shared=False)
    app.task(control_rollouts, name=CONTROL_ROLLOUTS, ignore_result=True, shared=False)
    return app


def start_control(settings: TrainerSettings) -> None:
    """Works off that queue in a thread, which ends with the process: a look that is cut off is done again."""
    app = build_control_app(settings)
    worker = app.WorkController(
        hostname="control@localhost",
        pool_cls="solo",
        queues=[CONTROL],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )

    def run() -> None:
        # The solo pool looks tasks up in the thread's current application.
        app.set_current()
        worker.start()
        # Never by itself: whoever keeps this process starts it again, and rollouts are led again.
        os._exit(os.EX_SOFTWARE)

    threading.Thread(target=run, name="control", daemon=True).start()
