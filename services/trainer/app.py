"""The Celery application of the trainer: tasks whose arguments are ids.

Torch is imported, and the work done, in the pool's child alone: the parent stays small and stops at once.
"""

from functools import cache
from typing import TYPE_CHECKING, Final

from celery import Celery
from celery.signals import setup_logging, worker_process_init

from services.trainer.collecting import collect_all
from services.trainer.drifting import DriftWatch
from services.trainer.scheduling import schedule
from services.trainer.settings import TrainerSettings
from shared.clocks import wall
from shared.db.engine import read_session, write_session
from shared.db.reports import loops_to_report
from shared.domain import EvaluationRef, RunRef
from shared.registry.evaluations import evaluations_to_enqueue
from shared.tasks import (
    COLLECT_VERSIONS,
    REDIS_SECONDS,
    REPORT,
    RUN_EVALUATION,
    RUN_TRAINING,
    SCHEDULE,
    SCHEDULE_REPORTS,
    celery_app,
    enqueue_evaluation,
    enqueue_run,
)

if TYPE_CHECKING:
    from services.trainer.child import Child

# Importing torch takes seconds, on a busy machine many.
START_SECONDS: Final = 120.0
# Nobody reads results but a person who looks for what went wrong.
RESULT_SECONDS: Final = 3600
# So many since its last report put a loop's report out of date.
NEW_EXPERIENCES: Final = 50


def build_app(settings: TrainerSettings, *, in_child: bool = True) -> Celery:
    """The application with its tasks, for a worker and for beat; `in_child`: its pool's child is to do runs."""
    app = celery_app(settings)
    app.conf.worker_proc_alive_timeout = START_SECONDS
    app.conf.update(
        result_backend=settings.results,
        result_expires=RESULT_SECONDS,
        redis_socket_timeout=REDIS_SECONDS,
        redis_socket_connect_timeout=REDIS_SECONDS,
        result_backend_transport_options={"retry_policy": {"max_retries": 1}},
    )
    app.conf.beat_schedule["schedule_reports"] = {
        "task": SCHEDULE_REPORTS,
        "schedule": settings.report_seconds,
        "options": {"expires": settings.report_seconds, "ignore_result": True},
    }
    app.conf.beat_schedule["collect_versions"] = {
        "task": COLLECT_VERSIONS,
        "schedule": settings.collect_seconds,
        "options": {"expires": settings.collect_seconds, "ignore_result": True},
    }

    @cache
    def child() -> "Child":
        from services.trainer.child import start_child

        return start_child(settings)

    def run_training(tenant: str, loop_id: str, training_run_id: str) -> None:
        child().trainer.run(RunRef(tenant, loop_id, training_run_id))
        # The run has ended: what it learned serves while its report is made.
        child().reporter.report(tenant, loop_id)

    def run_evaluation(tenant: str, loop_id: str, evaluation_id: str) -> None:
        child().evaluator.run(EvaluationRef(tenant, loop_id, evaluation_id))

    watch = DriftWatch()

    def schedule_training() -> None:
        trainer = child().trainer
        with write_session(trainer.engine) as session:
            refs = schedule(session, now := trainer.clock(), watch)
            evaluations = evaluations_to_enqueue(session, now)
        for ref in refs:
            enqueue_run(app, ref)
        for evaluation in evaluations:
            enqueue_evaluation(app, evaluation)

    def report_loop(tenant: str, loop_id: str) -> None:
        child().reporter.report(tenant, loop_id)

    def schedule_reports() -> None:
        with read_session(child().trainer.engine) as session:
            due = loops_to_report(session, NEW_EXPERIENCES)
        for tenant, loop_id in due:
            # A message a loop, so that a run that is asked for meanwhile waits for one report at most.
            app.send_task(REPORT, args=[tenant, loop_id], expires=settings.report_seconds, ignore_result=True)

    def collect_versions() -> None:
        collect_all(child().collector, wall())

    app.task(collect_versions, name=COLLECT_VERSIONS, ignore_result=True)
    app.task(run_training, name=RUN_TRAINING)
    app.task(run_evaluation, name=RUN_EVALUATION)
    app.task(schedule_training, name=SCHEDULE, ignore_result=True)
    app.task(report_loop, name=REPORT, ignore_result=True)
    app.task(schedule_reports, name=SCHEDULE_REPORTS, ignore_result=True)
    if in_child:
        worker_process_init.connect(lambda **_: child(), weak=False)
    # Whoever listens to this signal sets logging up: __main__ has done so.
    setup_logging.connect(lambda **_: None, weak=False)
    return app
