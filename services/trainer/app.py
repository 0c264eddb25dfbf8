"""The Celery application of the trainer: two tasks whose arguments are ids.

Torch is imported, and the work done, in the pool's child alone: the parent stays small and stops at once.
"""

from functools import cache
from typing import TYPE_CHECKING, Final

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from services.trainer.scheduling import schedule
from services.trainer.settings import TrainerSettings
from shared.db.engine import write_session
from shared.domain import RunRef
from shared.tasks import RUN_TRAINING, SCHEDULE, celery_app, enqueue_run

if TYPE_CHECKING:
    from services.trainer.trainer import Trainer

# Importing torch takes seconds, on a busy machine many.
START_SECONDS: Final = 120.0


def build_app(settings: TrainerSettings) -> Celery:
    """The application with its tasks, for a worker and for beat."""
    app = celery_app(settings)
    app.conf.worker_proc_alive_timeout = START_SECONDS

    @cache
    def trainer() -> "Trainer":
        from services.trainer.child import start_child

        return start_child(settings)

    def run_training(tenant: str, loop_id: str, training_run_id: str) -> None:
        trainer().run(RunRef(tenant, loop_id, training_run_id))

    def schedule_training() -> None:
        with write_session(trainer().engine) as session:
            refs = schedule(session, trainer().clock())
        for ref in refs:
            enqueue_run(app, ref)

    app.task(run_training, name=RUN_TRAINING)
    app.task(schedule_training, name=SCHEDULE, ignore_result=True)
    worker_process_init.connect(lambda **_: trainer(), weak=False)
    # Whoever listens to this signal sets logging up: __main__ has done so.
    setup_logging.connect(lambda **_: None, weak=False)
    return app
