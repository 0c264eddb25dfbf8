"""What happens to refusals that nobody waits for."""

import logging
from typing import Final

from rewardloop.errors import ProblemError

log: Final = logging.getLogger("rewardloop")


def log_problem(problem: ProblemError) -> None:
    """One line in the log of `rewardloop`."""
    log.error("the platform refused what was sent in the background: %s", problem)
