"""The trainer's two processes: `python -m services.trainer worker`, and `beat`."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

from billiard import active_children  # type: ignore[import-untyped] # it has no stubs
from celery import beat

from services.trainer.app import build_app
from services.trainer.control import start_control
from services.trainer.settings import TrainerSettings
from shared.db.schema import await_schema_or_exit
from shared.lifeline import lifeline_of, watch_lifeline
from shared.settings import told
from shared.telemetry import configure_logging

PROGRAMS: Final = ("worker", "beat")
STOPS: Final = (signal.SIGTERM, signal.SIGINT)
STOP_SECONDS: Final = 2.0


def run_worker(settings: TrainerSettings) -> int:
    """Does runs until SIGTERM or SIGINT; what is under way is cut off, and done again by the next worker."""
    worker = build_app(settings).WorkController(
        hostname="trainer@localhost",
        concurrency=1,
        pool_cls="prefork",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    for number in STOPS:
        signal.signal(number, stop)
    worker.start()
    return worker.exitcode or 0


def stop(*_: object) -> NoReturn:
    """Ends the worker and its child at once: Celery would wait for the run, which the next worker does again."""
    for child in active_children():
        child.terminate()
        child.join(STOP_SECONDS)
    os._exit(os.EX_OK)


def run_beat(settings: TrainerSettings) -> int:
    """Has due runs looked for, and rollouts led, tick after tick, until SIGTERM or SIGINT."""
    app = build_app(settings, in_child=False)
    start_control(settings)
    if settings.broker_url is None:
        service = beat.Service(app, scheduler_cls=beat.Scheduler)
        _at_the_end(lambda *_: service.stop())
        service.start()
    else:
        from services.trainer.beat import tick_on_redis

        # Not by a service's stop(): it may be waiting for another beat to end.
        _at_the_end(lambda *_: sys.exit(0))
        tick_on_redis(app, time.sleep)
    return 0


def _at_the_end(act: Callable[[int, FrameType | None], None]) -> None:
    for number in STOPS:
        signal.signal(number, act)


def main() -> None:
    if sys.argv[1:] not in [[name] for name in PROGRAMS]:
        sys.exit(f"usage: python -m services.trainer {{{'|'.join(PROGRAMS)}}}")
    settings, program = told(TrainerSettings), sys.argv[1]
    watch_lifeline(lifeline_of(os.environ))
    configure_logging(settings.log_level, f"trainer-{program}")
    await_schema_or_exit(settings.database)
    # Celery tells of every tick.
    logging.getLogger("celery").setLevel(logging.WARNING)
    sys.exit(run_worker(settings) if program == "worker" else run_beat(settings))


if __name__ == "__main__":
    main()
