"""Garbage collection of every loop's versions, as beat has it done."""

from typing import Final

import structlog

from shared.db.engine import read_session
from shared.db.loops import read_loops
from shared.eventlog import EventLogError
from shared.registry.artifacts import ArtifactError
from shared.registry.collection import Collector

log: Final = structlog.get_logger(__name__)


def collect_all(collector: Collector, now: int) -> None:
    """Has each loop's versions that nothing needs give up their weights, and deletes the files. What cannot be told
    now is looked at the next time."""
    with read_session(collector.engine) as session:
        loops = [(loop.tenant, loop.loop_id) for loop in read_loops(session)]
    for tenant, loop_id in loops:
        try:
            collector.collect(tenant, loop_id, now)
        except (ArtifactError, EventLogError) as error:
            log.warning("versions_not_collected", loop_id=loop_id, reason=str(error))
    try:
        collector.delete_files(now)
    except ArtifactError as error:
        log.warning("weights_not_deleted", reason=str(error))
