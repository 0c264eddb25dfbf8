"""Priority of processes whose work can wait: on a machine that is busy, deciding comes first."""

import os
from contextlib import suppress
from pathlib import Path


def lower_priority(process: int, niceness: int) -> None:
    """Sets the niceness (19: whatever nobody else wants) of a process, and of what it starts from now on."""
    # It may have ended meanwhile.
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process, niceness)
    # Where Linux shares the CPU out between sessions, niceness counts within a session; the session has its own.
    with suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(niceness))
