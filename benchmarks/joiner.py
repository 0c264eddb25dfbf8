"""Events per second that the joiner joins, beside how fast the log alone can be read, in one run.

The log is filled first: decisions of a loop with a title and a table, ten actions and a state of 128 numbers, each
followed by its feedback. Then `python -m services.feedback` runs as a process on PostgreSQL and Kafka (`make
services`), or on SQLite and the local log, until every experience is joined and published. Wall time says how fast it
is on an idle machine; CPU time, of the joiner and of the servers beside it, says it on a busy one too.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from kafka import KafkaConsumer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine
from uuid_utils import uuid7

from benchmarks.production import production, server_processes, variables
from benchmarks.serving import processor_seconds
from shared.clocks import wall
from shared.db.engine import open_engine, read_session, write_session
from shared.db.tables import LoopRow
from shared.db.upgrading import upgrade
from shared.domain import Action, Decision, Feedback, Scores
from shared.eventlog import EventLog
from shared.eventlog.opening import open_event_log
from shared.events import DECISIONS, FEEDBACK, decision_record, feedback_record
from shared.loop_settings import LoopSettings
from shared.settings import PlatformSettings

LOOP: Final = ("default", "benchmark")
ACTIONS: Final = [Action(f"action-{number}") for number in range(10)]
STATE_WIDTH: Final = 128
CHUNK: Final = 1000
PATIENCE: Final = 600.0
LOOK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a second by the wall clock, and milliseconds of CPU an event, by process."""

    events_per_second: float
    cpu_ms: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000, help="decisions and feedback together")
    parser.add_argument("--profiles", default="production,embedded")
    options = parser.parse_args()
    measured: dict[str, Rate] = {}
    for profile in options.profiles.split(","):
        with tempfile.TemporaryDirectory() as home, PROFILES[profile](Path(home)) as (settings, servers):
            measured |= measure(profile, settings, servers, options.events)
    show(measured)
    print("JOINER", json.dumps({name: asdict(rate) for name, rate in measured.items()}))


@contextmanager
def watched_production(home: Path) -> Iterator[tuple[PlatformSettings, dict[str, psutil.Process]]]:
    """With the processes of its servers."""
    with production(home) as settings:
        yield settings, server_processes()


@contextmanager
def embedded(home: Path) -> Iterator[tuple[PlatformSettings, dict[str, psutil.Process]]]:
    yield PlatformSettings(home=home), {}


PROFILES: Final = {"production": watched_production, "embedded": embedded}


def measure(
    profile: str, settings: PlatformSettings, servers: dict[str, psutil.Process], events: int
) -> dict[str, Rate]:
    engine = open_engine(settings.database)
    upgrade(engine)
    _make_loop(engine)
    log = open_event_log(settings, wall)
    pairs = events // 2
    try:
        _fill(log, pairs)
        names = {"production": "kafka-python alone", "embedded": "the local log alone"}
        alone = _read_by_kafka_python if profile == "production" else _read_by_port
        measured = {names[profile]: _timed(lambda: alone(settings, log, pairs), pairs, {})}
        measured[f"joiner, {profile}"] = _joined(settings, engine, servers, pairs)
        return measured
    finally:
        log.close()
        engine.dispose()


def _make_loop(engine: Engine) -> None:
    modalities = {"title": {"kind": "text"}, "user": {"kind": "tabular"}}
    settings = LoopSettings.model_validate({"modalities": modalities, "actions": [{"id": one.id} for one in ACTIONS]})
    body = settings.model_dump(mode="json")
    with write_session(engine) as session:
        session.add(LoopRow(tenant=LOOP[0], loop_id=LOOP[1], settings=body, settings_revision=1, created_at=1))


def _fill(log: EventLog, pairs: int) -> None:
    generator = np.random.default_rng(0)
    for first in range(0, pairs, CHUNK):
        decisions = [_decision(generator, number) for number in range(first, min(pairs, first + CHUNK))]
        feedback = [_feedback(one) for one in decisions]
        log.append(DECISIONS, [decision_record(one) for one in decisions])
        log.append(FEEDBACK, [feedback_record(one) for one in feedback])


def _decision(generator: np.random.Generator, number: int) -> Decision:
    probabilities = np.full(len(ACTIONS), 1 / len(ACTIONS))
    chosen = int(generator.integers(len(ACTIONS)))
    return Decision(
        tenant=LOOP[0],
        loop_id=LOOP[1],
        decision_id=str(uuid7()),
        decided_at=wall(),
        context={"title": f"Red shoe number {number}", "user": {"age": 31.0, "country": "de", "returning": True}},
        actions=ACTIONS,
        action_id=ACTIONS[chosen].id,
        probability=float(probabilities[chosen]),
        probabilities=probabilities,
        seed=number,
        settings_revision=1,
        request_sha256=hashlib.sha256(b"%d" % number).digest(),
        model_version=1,
        state=generator.standard_normal(STATE_WIDTH).astype(np.float32),
        scores=Scores(*generator.random((3, len(ACTIONS)))),
        modalities_used=["title", "user"],
    )


def _feedback(decision: Decision) -> Feedback:
    return Feedback(*LOOP, str(uuid7()), decision.decision_id, "reward", float(decision.seed % 2), wall())


def _read_by_kafka_python(settings: PlatformSettings, _: EventLog, pairs: int) -> None:
    consumer = KafkaConsumer(**settings.kafka_client(), auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.subscribe([settings.kafka_topic_prefix + topic for topic in (DECISIONS, FEEDBACK)])
    left = 2 * pairs
    while left > 0:
        left -= sum(len(records) for records in consumer.poll(1000).values())
    consumer.close()


def _read_by_port(_: PlatformSettings, log: EventLog, pairs: int) -> None:
    for topic in (DECISIONS, FEEDBACK):
        offset = 0
        while offset < pairs:
            offset += len(log.read(topic, 0, offset, CHUNK))


def _joined(settings: PlatformSettings, engine: Engine, servers: dict[str, psutil.Process], pairs: int) -> Rate:
    """From the first experience on, so that a process's start does not count."""
    process = subprocess.Popen([sys.executable, "-m", "services.feedback"], env=os.environ | variables(settings))
    watched = {"joiner": psutil.Process(process.pid), **servers}
    try:
        first = _wait_for(engine, process, 1)
        return _timed(lambda: _wait_for(engine, process, pairs), pairs - first, watched)
    finally:
        process.terminate()
        process.wait()


def _wait_for(engine: Engine, process: "subprocess.Popen[bytes]", sequence: int) -> int:
    """How far the log has the loop's experiences, once that is so far."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with read_session(engine) as session:
            published = session.get_one(LoopRow, LOOP).published_sequence
        if published >= sequence:
            return published
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the joiner has come to {published} of {sequence} experiences")
        time.sleep(LOOK)


def _timed(work: Callable[[], object], pairs: int, watched: dict[str, psutil.Process]) -> Rate:
    """Each pair is two events; without processes to watch, this one is meant."""
    watched = watched or {"reader": psutil.Process()}
    before = {name: processor_seconds(process) for name, process in watched.items()}
    started = time.perf_counter()
    work()
    took = time.perf_counter() - started
    events = 2 * pairs
    spent = {name: (processor_seconds(process) - before[name]) / events for name, process in watched.items()}
    return Rate(round(events / took, 1), {name: round(1000 * seconds, 4) for name, seconds in spent.items()})


def show(measured: dict[str, Rate]) -> None:
    table = Table("", "events/s", "CPU ms an event", title=f"{os.cpu_count()} cores")
    for name, rate in measured.items():
        spent = ", ".join(f"{process} {milliseconds:.3f}" for process, milliseconds in rate.cpu_ms.items())
        table.add_row(name, f"{rate.events_per_second:,.0f}", spent)
    Console().print(table)


if __name__ == "__main__":
    main()
