"""Signals end everything within ten seconds and leave no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Platform, alive


@pytest.mark.parametrize(
    ("number", "to_group"),
    [
        pytest.param(signal.SIGTERM, True, id="term-group"),
        pytest.param(signal.SIGINT, False, id="int-alone", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, False, id="term-alone", marks=pytest.mark.long),
        pytest.param(signal.SIGINT, True, id="int-group", marks=pytest.mark.long),
    ],
)
def test_a_signal_stops_everything(platform: Platform, number: signal.Signals, to_group: bool) -> None:
    running = platform.processes()
    assert len(running) >= 7
    send = os.killpg if to_group else os.kill
    before = time.monotonic()
    send(platform.process.pid, number)
    send(platform.process.pid, number)
    platform.process.wait(timeout=10)
    assert time.monotonic() - before < 10
    assert [process.cmdline() for process in running if alive(process)] == []


def test_an_interrupt_of_make_alone_stops_what_its_recipe_runs(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"up:\n\t@exec {sys.executable} -m services up\n")
    # A shell that starts its children in the background has them ignore the interrupt.
    make = ("env", "--default-signal=INT", "make", "--silent", "--file", str(makefile), "up")
    made = Platform(tmp_path / "state", make)
    try:
        made.start()
        running = made.processes()
        made.process.send_signal(signal.SIGINT)
        made.process.wait(timeout=15)
        assert [process.cmdline() for process in running if alive(process)] == []
    finally:
        made.stop()


def test_a_second_platform_on_the_same_state_is_refused(shared_platform: Platform) -> None:
    environment = os.environ | {"REWARDLOOP_HOME": str(shared_platform.home)}
    second = subprocess.run(
        [sys.executable, "-m", "services", "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"process {shared_platform.process.pid} runs on the state folder" in " ".join(second.stderr.split())
