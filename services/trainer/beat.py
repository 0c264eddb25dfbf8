"""Beat on Redis: of several one ticks, and none ends because Redis is away."""

from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery, beat
from redbeat import RedBeatScheduler
from redis.exceptions import RedisError

PAUSE_SECONDS: Final = 1.0

log: Final = structlog.get_logger(__name__)


class BeatLockError(RedisError):
    """The lock that lets one beat tick could not be had: Redis went away just then."""


class RedisScheduler(RedBeatScheduler):  # type: ignore[misc] # it has no types
    """RedBeat's, which would end on an attribute of None where Celery has swallowed why there is no lock."""

    def tick(self, *args: object, **kwargs: object) -> float:
        if self.lock is None:
            raise BeatLockError
        seconds: float = super().tick(*args, **kwargs)
        return seconds


def tick_on_redis(app: Celery, sleep: Callable[[float], None]) -> None:
    """Ticks until the process is told to exit; after Redis was away it writes the schedule anew."""
    while True:
        service = beat.Service(app, scheduler_cls=RedisScheduler)
        try:
            service.start()
        except RedisError as error:
            log.warning("broker_away", error=type(error).__name__, retry_in_seconds=PAUSE_SECONDS)
        else:
            return
        sleep(PAUSE_SECONDS)
