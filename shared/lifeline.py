"""Ends a process whose supervisor is gone, however that went: no process of ours outlives it."""

import os
import threading
from typing import Final

VARIABLE: Final = "REWARDLOOP_LIFELINE_FD"


def lifeline_of(environment: os._Environ[str]) -> int | None:
    """The read end of the supervisor's pipe that this process inherited; None where nobody supervises it."""
    value = environment.get(VARIABLE)
    return None if value is None else int(value)


def watch_lifeline(descriptor: int | None) -> None:
    """Ends this process at once when the pipe's write end closes; call it in forked and spawned children too.

    Nothing is ever written to the pipe: its read returns only when the supervisor's end is closed, by its exit or by
    its death. State on disk is crash-safe, so there is nothing to say good-bye to.
    """
    if descriptor is not None:
        threading.Thread(target=_end_with, args=(descriptor,), name="lifeline", daemon=True).start()


def _end_with(descriptor: int) -> None:
    os.read(descriptor, 1)
    os._exit(70)
