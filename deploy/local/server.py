"""A server as a process of this machine: started, found again and ended by its pid file, and nobody else's process."""

import fcntl
import json
import os
import secrets
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Final

import psutil

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.1
# Between a process's start as it was noted and as the kernel tells it again, which counts from a clock that moves.
SAME_START_SECONDS: Final = 1.0
LOG_TAIL: Final = 1000
LOOPBACK: Final = "127.0.0.1"


class ServerError(RuntimeError):
    """A server cannot be had here; the text says which, what was seen and what to do."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server keeps from start to start, so that those who know its address find it again."""

    port: int
    password: str


class LocalServer(ABC):
    """One server, with its state, log and pid file in a folder. It is this process's child or an earlier one's.

    It listens on one address of this machine: the one that only this machine reaches, unless it is told another.
    """

    name: ClassVar[str]
    # The setting by which the platform's processes are told the address.
    variable: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, host: str = LOOPBACK) -> None:
        self.folder = folder.resolve()
        self.host = host
        self.log = self.folder / "server.log"
        self._pid_file = self.folder / "server.pid"

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it: the value of `variable`."""

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed that it needs, or None."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes requests now."""

    @abstractmethod
    def prepare(self) -> Sequence[str]:
        """Makes what its folder needs, and gives the command line that runs it in the foreground."""

    @property
    def identity(self) -> Identity:
        """Made at the first look; the folder keeps it."""
        path = self.folder / "identity.json"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(asdict(Identity(free_port(), secrets.token_urlsafe(24)))))
        return Identity(**json.loads(path.read_text()))

    def process(self) -> psutil.Process | None:
        """The server's process, or None where it does not run: a number that another process got since is not it."""
        try:
            noted = json.loads(self._pid_file.read_text())
            process = psutil.Process(noted["pid"])
            is_same = abs(process.create_time() - noted["started"]) < SAME_START_SECONDS
            return process if is_same and _lives(process) else None
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None

    def start(self) -> None:
        """Returns once it answers; one that runs already stays as it is.

        Raises:
            ServerError: something is missing, or it ended or did not answer in time.
        """
        if (missing := self.missing()) is not None:
            raise ServerError(f"{self.name} needs {missing}: `make services-install` brings it on Debian")
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            if self.process() is None:
                self._note(_spawn(self.prepare(), self.log))
            self._wait()

    def stop(self) -> bool:
        """Ends it in good order, or by SIGKILL if it takes too long; False where it did not run."""
        if (process := self.process()) is None:
            return False
        process.send_signal(self.stop_signal)
        # One that was suspended must wake up to end.
        process.send_signal(signal.SIGCONT)
        if not _ended([process], STOP_SECONDS):
            self.kill()
        self._pid_file.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """SIGKILL, as a crash; its state stays for the next start."""
        _ended(self._each(psutil.Process.kill), STOP_SECONDS)

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._each(psutil.Process.suspend)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was suspended."""
        self._each(psutil.Process.resume)

    def _each(self, act: Callable[[psutil.Process], None]) -> list[psutil.Process]:
        """Acts on the server and then on its children: it comes first, so that it starts no new ones meanwhile."""
        process = self.process()
        processes = [] if process is None else [process, *process.children(recursive=True)]
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                act(one)
        return processes

    def _note(self, pid: int) -> None:
        started = psutil.Process(pid).create_time()
        write_private(self._pid_file, json.dumps({"pid": pid, "started": started}))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process() is None:
                raise ServerError(f"{self.name} ended as soon as it was started; {self._told()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} does not answer after {START_SECONDS:g} s; {self._told()}")
            time.sleep(POLL_SECONDS)

    def _told(self) -> str:
        return f"the end of {self.log}:\n{self.log.read_text(errors='replace')[-LOG_TAIL:]}"


def _lives(process: psutil.Process) -> bool:
    """A zombie does not: its parent, which may be neither we nor it any more, is late to ask for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ended(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Waits for processes to end, and lets go of those that are our children; False if they do not in time."""
    deadline = time.monotonic() + seconds
    for process in processes:
        while _lives(process):
            if time.monotonic() > deadline:
                return False
            _await(process, POLL_SECONDS)
        # As a zombie it would keep its number, by which PostgreSQL takes it for alive.
        _await(process, 0)
    return True


def _await(process: psutil.Process, seconds: float) -> None:
    with suppress(psutil.TimeoutExpired):
        process.wait(seconds)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody listens on a port of an address of this machine."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def write_private(path: Path, text: str) -> None:
    """Writes a file whole, for its owner's eyes."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.touch(mode=0o600)
    part.write_text(text)
    part.rename(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, waiting for whoever has it."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _spawn(command: Sequence[str], log: Path) -> int:
    """Starts a process in a session of its own, so that it outlives this one and no Ctrl-C meets it."""
    output = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), output, (os.POSIX_SPAWN_DUP2, 1, 2)]
    return os.posix_spawnp(command[0], [*command], os.environ, file_actions=files, setsid=True)
