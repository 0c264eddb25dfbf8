"""A service of the platform that runs with one guarantee switched off, or by a clock that can be stepped.

python -m tests.faults.altered <alteration> <module> [arguments]: product code has no such switch.
"""

import asyncio
import dataclasses
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from shared.domain import Feedback

Alteration = Literal["no-deduplication", "early-acknowledgement", "no-fencing", "no-hash-check", "stepped-clock"]
# The file whose number is added to the wall clock, in microseconds.
CLOCK_STEP: Final = "REWARDLOOP_FAULTS_CLOCK_STEP"
# Between the acknowledgement and the write, where that order is wrong.
WRITE_BEHIND_SECONDS: Final = 1.0


def no_deduplication() -> None:
    """The joiner takes a repeated feedback for another one."""
    from services.feedback.joining import Join

    receive = Join._receive

    def repeats_count(join: Join, feedback: Feedback) -> None:
        known = (feedback.tenant, feedback.loop_id, feedback.feedback_id) in join._known.feedback_ids
        again = dataclasses.replace(feedback, feedback_id=f"{feedback.feedback_id}-again") if known else feedback
        receive(join, again)

    Join._receive = repeats_count  # type: ignore[assignment, method-assign] # this is the alteration


def early_acknowledgement() -> None:
    """The gateway answers first and writes then, as one that does not wait for fsync does."""
    from services.gateway.appending import Appender
    from shared.eventlog import Record

    append = Appender.append
    under_way: set[asyncio.Task[None]] = set()

    async def write_behind(appender: Appender, topic: str, records: Sequence[Record]) -> None:
        await asyncio.sleep(WRITE_BEHIND_SECONDS)
        await append(appender, topic, records)

    async def acknowledge(appender: Appender, topic: str, records: Sequence[Record]) -> None:
        task = asyncio.create_task(write_behind(appender, topic, records))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    Appender.append = acknowledge  # type: ignore[assignment, method-assign] # this is the alteration


def no_fencing() -> None:
    """A joiner commits whoever has the partition by now, and goes on from where it was itself."""
    from sqlalchemy import update
    from sqlalchemy.orm import Session

    from services.feedback import joiner
    from shared.db.dialects import table_of
    from shared.db.offsets import Claim
    from shared.db.tables import ConsumerOffsetRow

    def move(session: Session, claims: Iterable[Claim]) -> None:
        table = table_of(ConsumerOffsetRow)
        for claim in claims:
            place = {"consumer": claim.consumer, "topic": claim.topic, "partition": claim.partition}
            session.execute(update(table).filter_by(**place).values(offset=claim.offset))

    # One record at a time: it takes a while to catch up, and all that time it sets the offsets back.
    os.environ["REWARDLOOP_JOINER_BATCH"] = "1"

    def claims_as_they_were(session: Session, claims: Iterable[Claim]) -> list[Claim]:
        return list(claims)

    joiner.move_offsets = move  # type: ignore[attr-defined] # this is the alteration
    joiner.read_claims = claims_as_they_were  # type: ignore[attr-defined] # this is the alteration


def no_hash_check() -> None:
    """Artifacts are taken for what their names say."""
    from shared.registry.artifacts import ArtifactStore

    def get(store: ArtifactStore, sha256: str) -> bytes:
        return store._path(sha256).read_bytes()

    ArtifactStore.get = get  # type: ignore[assignment, method-assign] # this is the alteration


def stepped_clock() -> None:
    """The wall clock is off by what a file says now."""
    from shared import clocks

    path = Path(os.environ[CLOCK_STEP])
    clocks.wall = lambda: time.time_ns() // 1000 + int(path.read_text() or 0)


ALTERATIONS: Final[dict[Alteration, Callable[[], None]]] = {
    "no-deduplication": no_deduplication,
    "early-acknowledgement": early_acknowledgement,
    "no-fencing": no_fencing,
    "no-hash-check": no_hash_check,
    "stepped-clock": stepped_clock,
}


def main() -> None:
    name, module, *arguments = sys.argv[1:]
    alter = {str(known): alter for known, alter in ALTERATIONS.items()}[name]
    alter()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
