"""The faults: each is a function of the bench and of how long to keep it up, and has let go when it returns."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from kafka import KafkaProducer

from deploy.local.server import LocalServer
from shared.domain import Feedback
from shared.events import DECISIONS, FEEDBACK, TYPE_PREFIX, feedback_record
from tests.faults.bench import PATIENCE, SERVICES, Bench
from tests.faults.stored import read_epochs

Inject = Callable[[Bench, str, float], None]
POISON: Final = 1000
LOST_ACKNOWLEDGEMENTS: Final = 10
SLOW_SECONDS: Final = 0.2
# Kills of one run of `killed_at_random`, and the longest pause between two.
KILLS: Final = 20
HOUR: Final = 3600
MEGABYTE: Final = 2**20
# Bytes: room for nothing.
LEAST_FILE: Final = 1


def nothing(_: Bench, __: str, seconds: float) -> None:
    """Traffic alone: duplicates, late feedback, and feedback before its decision."""
    time.sleep(seconds)


def killed(service: str) -> Inject:
    """SIGKILL; the supervisor starts it again."""

    def inject(bench: Bench, _: str, seconds: float) -> None:
        bench.victim(service).kill()
        time.sleep(seconds)

    return inject


def frozen(*services: str) -> Inject:
    """SIGSTOP, and SIGCONT at the end."""

    def inject(bench: Bench, _: str, seconds: float) -> None:
        with ExitStack() as resuming:
            for service in services:
                process = bench.victim(service)
                resuming.callback(process.resume)
                process.suspend()
            time.sleep(seconds)

    return inject


def server_killed(name: str) -> Inject:
    """SIGKILL of the server and its children, and a start at the end."""

    def inject(bench: Bench, _: str, seconds: float) -> None:
        server = _server(bench, name)
        server.kill()
        time.sleep(seconds)
        server.start()

    return inject


def server_restarted(name: str) -> Inject:
    """A stop in good order, and a start at once."""

    def inject(bench: Bench, _: str, __: float) -> None:
        server = _server(bench, name)
        server.stop()
        server.start()

    return inject


def server_frozen(name: str) -> Inject:
    """Connections stay open and nothing answers."""

    def inject(bench: Bench, _: str, seconds: float) -> None:
        with _suspended(bench, name):
            time.sleep(seconds)

    return inject


def no_room_for(name: str) -> Inject:
    """A server that can make no file any longer, as on a full disk; it may well end by that, and starts at the end."""

    def inject(bench: Bench, _: str, seconds: float) -> None:
        server = _server(bench, name)
        leader = server.process()
        assert leader is not None
        with _unable_to_write(leader):
            time.sleep(seconds)
        server.start()

    return inject


def no_room_for_artifacts(bench: Bench, loop_id: str, seconds: float) -> None:
    """A fine-tune whose version cannot be written; then one that can."""
    with _unable_to_write(bench.victim("worker")):
        bench.ask_for_training(loop_id)
        time.sleep(seconds)
    bench.ask_for_training(loop_id)


def acknowledgements_lost(bench: Bench, _: str, seconds: float) -> None:
    """Kafka has written, and the connection breaks before the gateway hears of it."""
    for _n in range(LOST_ACKNOWLEDGEMENTS):
        bench.to_kafka.lose(1)
        time.sleep(seconds / LOST_ACKNOWLEDGEMENTS)


def postgresql_slow(bench: Bench, _: str, seconds: float) -> None:
    """Each of its answers comes later."""
    with bench.to_postgresql.slow(SLOW_SECONDS):
        time.sleep(seconds)


def killed_at_random(bench: Bench, loop_id: str, seconds: float) -> None:
    """SIGKILL of the joiner, the gateway or the Celery worker, which has fine-tunes to do meanwhile."""
    draws = random.Random(7)
    ends_at = time.monotonic() + seconds
    for number in range(KILLS):
        if time.monotonic() > ends_at:
            return
        victim = bench.victim(draws.choice(("feedback", "gateway", "worker")))
        if number % 5 == 0:
            bench.ask_for_training(loop_id)
        victim.kill()
        time.sleep(seconds / KILLS)


def restarted_in_turn(bench: Bench, _: str, __: float) -> None:
    """SIGTERM to each service, the next one once the last one answers again."""
    for service in SERVICES:
        process = bench.victim(service)
        process.terminate()
        process.wait(PATIENCE)
        bench.victim(service)
        bench.until(bench.is_ready, f"all is well after the restart of {service}")


def worker_killed(bench: Bench, loop_id: str, seconds: float) -> None:
    """SIGKILL of the Celery worker in the middle of a fine-tune; another one takes that over."""
    bench.ask_for_training(loop_id)
    time.sleep(min(3.0, seconds / 2))
    bench.victim("worker").kill()
    time.sleep(seconds)


def zombie_joiner(bench: Bench, _: str, seconds: float) -> None:
    """A joiner is suspended past its lease while another takes over, and then wakes up."""
    before = read_epochs(bench.engine)
    second = subprocess.Popen(
        [sys.executable, "-m", "services.feedback"],
        env=os.environ | bench.variables(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        bench.until(lambda: read_epochs(bench.engine) != before, "the second joiner shares the work")
        zombie = bench.victim("feedback")
        zombie.suspend()
        try:
            taken = read_epochs(bench.engine)
            bench.until(lambda: read_epochs(bench.engine) != taken, "the second joiner has taken over")
            time.sleep(seconds)
        finally:
            zombie.resume()
        time.sleep(seconds / 2)
    finally:
        second.terminate()
        second.wait()


def poison(bench: Bench, loop_id: str, seconds: float) -> None:
    """A thousand records that are not ours, straight into both topics."""
    address = f"127.0.0.1:{bench.to_kafka.port}"
    producer = KafkaProducer(bootstrap_servers=address, max_request_size=2 * MEGABYTE)
    for record in _poisons():
        value, headers = record
        for topic in (DECISIONS, FEEDBACK):
            producer.send(topic, value, key=b"poison", headers=headers)
    producer.flush()
    producer.close()
    time.sleep(seconds)


def spool_full(bench: Bench, _: str, seconds: float) -> None:
    """Kafka hangs, and the disk of the spool is full: what is acknowledged all the same must be there."""
    ballast = bench.spool / "ballast"
    with _suspended(bench, "kafka"):
        time.sleep(1)
        _fill(ballast)
        time.sleep(seconds)
        ballast.unlink()
        # Its space is the events' again.
        time.sleep(1)


def clock_stepped(bench: Bench, _: str, seconds: float) -> None:
    """Back by an hour, forward by an hour, and forward by a day."""
    for step in (-HOUR, 0, 24 * HOUR):
        bench.step_clock(step)
        time.sleep(seconds / 3)


def everything_but_the_gateway(bench: Bench, loop_id: str, seconds: float) -> None:
    """Servers and services hang."""
    with ExitStack() as resuming:
        for name in ("kafka", "postgresql", "redis"):
            resuming.enter_context(_suspended(bench, name))
        frozen("encoding", "fusion", "policy", "feedback")(bench, loop_id, seconds)


def _server(bench: Bench, name: str) -> LocalServer:
    return next(server for server in bench.servers if server.name == name)


@contextmanager
def _suspended(bench: Bench, name: str) -> Iterator[None]:
    server = _server(bench, name)
    server.suspend()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def _unable_to_write(leader: psutil.Process) -> Iterator[None]:
    """EFBIG from every write that would make a file larger than this, in the process and all below it."""
    _limit_files(leader, str(LEAST_FILE))
    try:
        yield
    finally:
        _limit_files(leader, "unlimited")


def _limit_files(leader: psutil.Process, size: str) -> None:
    with suppress(psutil.NoSuchProcess):
        # It comes first: those that it starts meanwhile have its limit.
        for process in (leader, *leader.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                # As the server's own user: where root may not do everything, it may not do this to others' processes.
                command = ["prlimit", "--pid", str(process.pid), f"--fsize={size}:"]
                user, group = process.uids().real, process.gids().real
                done = subprocess.run(
                    command, user=user, group=group, extra_groups=(), check=False, capture_output=True, text=True
                )
                if done.returncode and process.is_running():
                    raise AssertionError(done.stderr)


def _poisons() -> Iterator[tuple[bytes, Sequence[tuple[str, bytes]]]]:
    """Of each kind as many: half of POISON, since each goes into two topics."""
    draws = random.Random(1)
    unknown_loop = feedback_record(Feedback("nobody", "nowhere", "f", "d", "reward", 1.0, 1, None))
    ours = TYPE_PREFIX + "FeedbackReceived"
    kinds: list[Callable[[], tuple[bytes, str | None]]] = [
        lambda: (draws.randbytes(100), None),
        lambda: (draws.randbytes(100), ours),
        lambda: (unknown_loop.value[:-4], ours),
        lambda: (unknown_loop.value, ours),
        lambda: (unknown_loop.value, TYPE_PREFIX.replace("v1", "v2") + "FeedbackReceived"),
        lambda: (b"", ours),
    ]
    for number in range(POISON // 2 - 1):
        value, event_type = kinds[number % len(kinds)]()
        yield value, [] if event_type is None else [("ce_type", event_type.encode())]
    yield draws.randbytes(MEGABYTE), [("ce_type", ours.encode())]


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
