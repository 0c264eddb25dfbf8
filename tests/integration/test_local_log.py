"""The local log under real faults, each in a process of its own: what was acknowledged is there afterwards."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.eventlog import Record
from shared.eventlog.local import LocalEventLog
from tests.conftest import do_without

TOPIC = "rewardloop.feedback"

# Prints the number of each batch of three once it is acknowledged.
APPEND = """
import sys
from pathlib import Path
from shared.eventlog import Record
from shared.eventlog.local import LocalEventLog

log = LocalEventLog(Path(sys.argv[1]), lambda: 1)
number = int(sys.argv[2])
while True:
    log.append("rewardloop.feedback", [Record(f"{number}/{part}", bytes(900) + b"%d" % number) for part in range(3)])
    print(number, flush=True)
    number += 1
"""

# No file may grow past the limit, as on a full disk; then there is room again.
FILL = """
import resource, signal, sys
from pathlib import Path
from shared.eventlog import EventLogError, Record
from shared.eventlog.local import LocalEventLog

log = LocalEventLog(Path(sys.argv[1]), lambda: 1)
log.append("rewardloop.feedback", [Record("first", b"")])
print("first")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
refused = 0
for number in range(100):
    try:
        log.append("rewardloop.feedback", [Record(f"{number}", bytes(9000))])
        print(number)
    except EventLogError as error:
        assert "rewardloop.feedback: " in str(error), error
        refused += 1
assert refused > 50, refused
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.append("rewardloop.feedback", [Record("last", b"")])
print("last")
"""


# What is refused is told by the error; what was acknowledged, by its key.
TRY = """
import sys
from pathlib import Path
from shared.eventlog import EventLogError, Record
from shared.eventlog.local import LocalEventLog

log = LocalEventLog(Path(sys.argv[1]), lambda: 1)
for number in range(int(sys.argv[2])):
    try:
        log.append("rewardloop.feedback", [Record(str(number), bytes(9000))])
        print(number, flush=True)
    except EventLogError as error:
        print(error, file=sys.stderr, flush=True)
"""
TRIES = 12


def run(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def try_with(fault: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """TRY under strace, which makes the named fault of a call that writes through to the disk."""
    strace = shutil.which("strace")
    if strace is None:
        do_without("strace is not installed: `make tracer` brings it on Debian")
    calls = "fsync,fdatasync"
    tracer = [strace, "-f", "-qq", "-o", str(folder / "calls"), "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    command = [*tracer, sys.executable, "-c", TRY, str(folder / "log"), str(TRIES)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def recovered(folder: Path) -> list[str]:
    """Keys in order of their offsets, which have no gap."""
    log = LocalEventLog(folder, lambda: 1)
    stored = log.read(TOPIC, 0, 0, 100_000)
    assert [one.position.offset for one in stored] == list(range(log.ends(TOPIC)[0]))
    log.close()
    return [one.record.key for one in stored]


def test_what_was_acknowledged_survives_a_kill_in_mid_stream(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for _ in range(3):
        with run(APPEND, str(tmp_path), str(len(acknowledged))) as process:
            assert process.stdout is not None
            acknowledged += [int(process.stdout.readline()) for _ in range(40)]
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout]
        keys = recovered(tmp_path)
        # The batch under way may be there, whole, or not at all.
        whole = [f"{number}/{part}" for number in range(len(keys) // 3) for part in range(3)]
        assert keys == whole
        assert len(acknowledged) <= len(keys) // 3 <= len(acknowledged) + 1
        acknowledged = list(range(len(keys) // 3))


def test_a_full_disk_refuses_appends_loses_nothing_and_passes(tmp_path: Path) -> None:
    with run(FILL, str(tmp_path)) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert recovered(tmp_path) == out.split()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_writer_makes_room_for_the_next(tmp_path: Path, signal_number: signal.Signals) -> None:
    with run(APPEND, str(tmp_path), "0") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal_number)
    log = LocalEventLog(tmp_path, lambda: 1)
    (position,) = log.append(TOPIC, [Record("next", b"")])
    assert position.offset == len(recovered(tmp_path)) - 1
    log.close()


@pytest.mark.parametrize("nth", [1, 2, 4, 7, 11])
def test_a_disk_that_fails_to_write_through_refuses_that_append_alone(tmp_path: Path, nth: int) -> None:
    tried = try_with(f"error=EIO:when={nth}", tmp_path)
    assert tried.returncode == 0, tried.stderr
    acknowledged = tried.stdout.split()
    assert "INJECTED" in (tmp_path / "calls").read_text()
    assert all("rewardloop.feedback: " in line for line in tried.stderr.splitlines())
    # One that was refused may be there: it was never promised not to be.
    assert set(acknowledged) <= set(recovered(tmp_path / "log"))
    assert len(acknowledged) >= TRIES - 1


@pytest.mark.parametrize("nth", [2, 3, 5, 8, 12])
def test_what_was_acknowledged_survives_a_kill_at_any_write_through(tmp_path: Path, nth: int) -> None:
    tried = try_with(f"signal=SIGKILL:when={nth}", tmp_path)
    acknowledged = tried.stdout.split()
    assert len(acknowledged) < TRIES, "it was not killed"
    keys = recovered(tmp_path / "log")
    assert keys[: len(acknowledged)] == acknowledged
    assert len(keys) <= len(acknowledged) + 1
