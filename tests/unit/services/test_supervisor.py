"""The supervisor ends what it started, however it ends itself."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.supervisor import Program, Supervisor

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
ORPHAN = """
import os, subprocess, sys, time
from shared.lifeline import lifeline_of, watch_lifeline
watch_lifeline(lifeline_of(os.environ))
print('up', flush=True)
time.sleep(60)
"""
SUPERVISED = """
import asyncio, os, sys
from pathlib import Path
from services.supervisor import Program, Supervisor
program = Program('orphan', [sys.executable, '-c', sys.argv[2]])
asyncio.run(Supervisor([program], os.environ, Path(sys.argv[1]), print).run(asyncio.Event()))
"""


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.02)


def python(name: str, code: str) -> Program:
    return Program(name, [sys.executable, "-c", code])


def log_of(folder: Path, name: str) -> str:
    path = folder / f"{name}.log"
    return path.read_text() if path.exists() else ""


async def test_starts_again_what_ends_by_itself_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    stop = asyncio.Event()
    supervisor = Supervisor([python("brief", "print('up')")], os.environ, tmp_path, said.append)
    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.to_thread(until, lambda: log_of(tmp_path, "brief").count("up") >= 2)
    stop.set()
    await asyncio.wait_for(running, 5)
    assert said[0].startswith("brief ended with status 0; again in 1 s")


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
async def test_what_nobody_waits_for_gets_less_of_a_busy_machine(tmp_path: Path) -> None:
    stop = asyncio.Event()
    programs = [replace(python(name, STUBBORN), niceness=niceness) for name, niceness in (("first", 0), ("last", 5))]
    running = asyncio.create_task(Supervisor(programs, os.environ, tmp_path, print).run(stop))
    own = psutil.Process().nice()
    await asyncio.to_thread(until, lambda: sorted(one.nice() for one in psutil.Process().children()) == [own, 5])
    stop.set()
    await running


async def test_says_where_a_disk_is_full_that_may_have_kept_a_log_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.supervisor.LEAST_ROOM", 2**62)
    said: list[str] = []
    stop = asyncio.Event()
    running = asyncio.create_task(Supervisor([python("brief", "")], os.environ, tmp_path, said.append).run(stop))
    while len(said) < 2:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(running, 15)
    assert said[0].startswith("brief ended with status 0")
    assert said[1].startswith(f"the disk of {tmp_path} has ")
    assert said[1].endswith(" bytes left: make room there")


async def test_kills_what_does_not_stop(tmp_path: Path) -> None:
    stop = asyncio.Event()
    said: list[str] = []
    supervisor = Supervisor([python("stubborn", STUBBORN)], os.environ, tmp_path, said.append)
    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.to_thread(until, lambda: "up" in log_of(tmp_path, "stubborn"))
    before = time.monotonic()
    stop.set()
    await asyncio.wait_for(running, 15)
    assert time.monotonic() - before < 10
    assert not any("SIG_IGN" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))
    assert "stubborn did not stop in 6 s; killing it" in said


def test_a_killed_supervisor_leaves_no_child_behind(tmp_path: Path) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISED, str(tmp_path), ORPHAN])
    until(lambda: "up" in log_of(tmp_path, "orphan"))
    (orphan,) = psutil.Process(supervisor.pid).children()
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, 5)
