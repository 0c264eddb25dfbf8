"""Keeps the processes of the embedded profile running, and ends them all, whatever ends it."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.lifeline import VARIABLE
from shared.priority import lower_priority

STOP_SECONDS: Final = 6.0
FIRST_RESTART_SECONDS: Final = 1.0
LONGEST_RESTART_SECONDS: Final = 30.0
# Bytes on a disk that is as good as full.
LEAST_ROOM: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running: its name (and that of its log file), its command line, and what it alone is told.

    Of a busy machine those of greater `niceness` get less, their start included.
    """

    name: str
    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0


class Supervisor:
    """Runs programs until it is told to stop; one that ends by itself is started again.

    Every program leads a session of its own, so that a signal to the supervisor's group reaches only the supervisor,
    and holds the read end of the supervisor's lifeline, so that it ends even where the supervisor was killed.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        log_folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._programs = programs
        self._environment = dict(environment)
        self._log_folder = log_folder
        self._say = say

    async def run(self, stop: asyncio.Event) -> None:
        """Starts everything and returns once all of it has ended, at most about seven seconds after `stop`."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        read_end, write_end = os.pipe()
        try:
            await asyncio.gather(*(self._keep(program, read_end, stop) for program in self._programs))
        finally:
            os.close(write_end)
            os.close(read_end)

    async def _keep(self, program: Program, lifeline: int, stop: asyncio.Event) -> None:
        pause = FIRST_RESTART_SECONDS
        while not stop.is_set():
            started = time.monotonic()
            process = await self._start(program, lifeline)
            ended = asyncio.create_task(process.wait())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if stop.is_set():
                await self._end(program, process, ended)
                return
            _kill_group(process.pid)
            if time.monotonic() - started > LONGEST_RESTART_SECONDS:
                pause = FIRST_RESTART_SECONDS
            log = self._log_folder / f"{program.name}.log"
            self._say(f"{program.name} ended with status {process.returncode}; again in {pause:.0f} s (its log: {log})")
            if (free := shutil.disk_usage(self._log_folder).free) < LEAST_ROOM:
                # What it said of that may not have come as far as its log.
                self._say(f"the disk of {self._log_folder} has {free:,} bytes left: make room there")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(2 * pause, LONGEST_RESTART_SECONDS)

    async def _start(self, program: Program, lifeline: int) -> asyncio.subprocess.Process:
        with (self._log_folder / f"{program.name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *program.arguments,
                env={**self._environment, **program.variables, VARIABLE: str(lifeline)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lifeline],
            )
        if program.niceness:
            lower_priority(process.pid, program.niceness)
        return process

    async def _end(self, program: Program, process: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
        if process.returncode is None:
            self._say(f"{program.name} did not stop in {STOP_SECONDS:.0f} s; killing it")
        # What a program left behind in its group, such as a pool's child, goes too.
        _kill_group(process.pid)
        await ended


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
