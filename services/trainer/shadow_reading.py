"""What shadows would have done, as the log tells it; counted from the moment that this process looks."""

from collections.abc import Iterator
from typing import Final

from shared.eventlog import EventLog
from shared.events import SHADOWS, event_from_record
from shared.rollouts import ShadowScored
from shared.wire import WireError

BATCH: Final = 1000


class ShadowReader:
    """Reads on from where it last was."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._offsets: dict[int, int] | None = None

    def read(self) -> Iterator[ShadowScored]:
        """What came since the last call; nothing the first time.

        Raises:
            EventLogError: the log is away.
        """
        ends = self._log.ends(SHADOWS)
        if self._offsets is None:
            self._offsets = dict(ends)
        for partition, end in ends.items():
            while (offset := self._offsets.get(partition, 0)) < end:
                records = self._log.read(SHADOWS, partition, offset, BATCH)
                self._offsets[partition] = records[-1].position.offset + 1 if records else end
                for stored in records:
                    try:
                        event = event_from_record(stored.record)
                    except WireError:
                        continue
                    if isinstance(event, ShadowScored):
                        yield event
