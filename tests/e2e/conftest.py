"""The whole platform, started as a user starts it, on a state folder and ports of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

KEY = "e2e-" + "k" * 40
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Returns as soon as something holds; fails, naming it, if it does not in time."""
    deadline, pause = time.monotonic() + seconds, 0.05
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)
        # Looking costs the platform time that it needs for what takes long.
        pause = min(0.25, 1.2 * pause)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Platform:
    """`rewardloop up` as a child process."""

    def __init__(
        self,
        home: Path,
        command: Sequence[str] = (sys.executable, "-m", "services", "up"),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self._variables = variables or {}
        self._command = command
        self.port, self.dashboard_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self, seconds: float = 60) -> None:
        environment = os.environ | {
            "REWARDLOOP_HOME": str(self.home),
            "REWARDLOOP_PORT": str(self.port),
            "REWARDLOOP_DASHBOARD_PORT": str(self.dashboard_port),
            "REWARDLOOP_BOOTSTRAP_KEY": KEY,
            **self._variables,
        }
        self._process = subprocess.Popen(self._command, env=environment, start_new_session=True)
        with self.client() as http:
            until(lambda: ready(http), "the platform is ready", seconds)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all that runs under it."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def kill(self) -> None:
        """SIGKILL to the supervisor; everything else follows by itself."""
        running = self.processes()
        self.process.kill()
        self.process.wait()
        until(lambda: not any(alive(process) for process in running), "no process is left", 10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=15)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def running(home: Path, seconds: float = 60, variables: Mapping[str, str] | None = None) -> Iterator[Platform]:
    """A platform that is ready within so long, until the end of the block."""
    platform = Platform(home, variables=variables)
    try:
        platform.start(seconds)
        yield platform
    finally:
        platform.stop()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path / "state") as platform:
        yield platform


@pytest.fixture(scope="session")
def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """For all tests of a worker that leave it running: each has loops of its own, of names that no other file uses."""
    with running(tmp_path_factory.mktemp("platform") / "state", 180) as platform:
        yield platform


@pytest.fixture(scope="module")
def http(shared_platform: Platform) -> Iterator[httpx.Client]:
    """A client of the platform that tests share."""
    with shared_platform.client() as client:
        yield client


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on the path: `make browser` installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
