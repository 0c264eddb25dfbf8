"""What must not wait for a fine-tune: rollouts are led by a worker of their own, a thread beside beat."""

import os
import threading

from celery import Celery

from services.trainer.rollout_controller import RolloutController
from services.trainer.settings import TrainerSettings
from services.trainer.shadow_reading import ShadowReader
from shared.clocks import wall
from shared.db.engine import open_engine
from shared.eventlog.opening import open_event_log
from shared.tasks import CONTROL, CONTROL_ROLLOUTS, celery_app


def build_control_app(settings: TrainerSettings) -> Celery:
    """The application of the tasks on the queue `control`."""
    app = celery_app(settings)
    controller = RolloutController(open_engine(settings.database), wall, ShadowReader(open_event_log(settings, wall)))

    def control_rollouts() -> None:
        controller.look()

    # Not shared: beat's application in this process has other tasks.
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
