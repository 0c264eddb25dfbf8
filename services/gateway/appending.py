"""Events on their way to the log: gathered by topic, appended in threads, acknowledged when they are durable."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from services.gateway.gatherer import Gatherer
from shared.eventlog import MAX_RECORD_BYTES, EventLog, Record, RecordTooLargeError

MOST_APPENDS: Final = 1000


class Appender:
    """The log for callers of the event loop."""

    def __init__(self, log: EventLog, topics: int) -> None:
        self._log = log
        self._gatherer = Gatherer(self._append, most=MOST_APPENDS, weigh=_size)
        self._threads = ThreadPoolExecutor(topics, thread_name_prefix="append")

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        """Returns when the records are durable.

        Raises:
            RecordTooLargeError: nothing was appended.
            EventLogError: nothing is promised.
        """
        # Looked at here, since one that is too large would be refused together with those gathered around it.
        if any(record.size > MAX_RECORD_BYTES for record in records):
            raise RecordTooLargeError(f"a record of {topic} is larger than {MAX_RECORD_BYTES} bytes")
        await self._gatherer.submit(topic, records)

    def close(self) -> None:
        """Waits for the appends under way."""
        self._threads.shutdown()

    async def _append(self, topic: str, appends: Sequence[Sequence[Record]]) -> Sequence[None]:
        records = [record for batch in appends for record in batch]
        await asyncio.get_running_loop().run_in_executor(self._threads, self._log.append, topic, records)
        return [None] * len(appends)


def _size(records: Sequence[Record]) -> int:
    return sum(record.size for record in records)
