"""The garbage collector of a process that answers calls or follows the log: its walks cost what they find, again."""

import gc
from typing import Final

# A full collection takes tens of milliseconds; what a request leaves behind needs none.
THRESHOLDS: Final = (50_000, 50, 1000)


def collect_seldom() -> None:
    """What start-up made is not walked any more, and what comes later seldom: call it once all is made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
