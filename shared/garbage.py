"""The garbage collector of a process that answers calls or follows the log: its walks cost what they find, again."""

import gc
from typing import Final

# What a call leaves behind needs no collection as a rule; an error leaves its frames behind, and all that they hold.
THRESHOLDS: Final = (10_000, 20, 50)


def collect_seldom() -> None:
    """What start-up made is not walked any more, and what comes later seldom: call it once all is made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
