"""A server of its own for a benchmark: started, waited for, and ended with it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from shared import lifeline


@contextmanager
def served_platform(home: Path, **more: str) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    environment = os.environ | {"REWARDLOOP_HOME": str(home), "REWARDLOOP_BOOTSTRAP_KEY": "benchmark-" + "0" * 40}
    # Ports of its own: a platform of another benchmark would answer in its place.
    port, dashboard_port = free_ports(2)
    environment |= {"REWARDLOOP_PORT": str(port), "REWARDLOOP_DASHBOARD_PORT": str(dashboard_port)}
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, "-m", "services", "up"], env=environment | more)
    try:
        wait_for(f"{url}/readyz", None, process)
        yield url, environment["REWARDLOOP_BOOTSTRAP_KEY"], process
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    """So many that nobody listens on at the moment."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_for(url: str, body: bytes | None, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        if answers(url, body):
            return
        time.sleep(0.2)
    sys.exit(f"the server of {url} has ended")


def answers(url: str, body: bytes | None = None) -> bool:
    """Whether a POST of this body succeeds there, a GET where there is none."""
    try:
        return httpx.request("GET" if body is None else "POST", url, content=body).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def wait_for_version(http: httpx.Client, url: str, body: bytes) -> None:
    """Returns once a model version decides there."""
    while http.post(url, content=body).raise_for_status().json()["fallback_reason"] is not None:
        time.sleep(0.2)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Returns as soon as something holds; ends the benchmark, naming it, if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


@contextmanager
def paused(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """They stand still."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def member(platform: subprocess.Popen[bytes], module: str) -> psutil.Process:
    """The first of a platform's processes that runs a module."""
    return next(one for one in tree(platform) if module in one.cmdline())


@contextmanager
def another(process: psutil.Process, **changed: str) -> Iterator[psutil.Process]:
    """One like a process that runs, but for some environment variables; nobody supervises it, and it ends with the
    block."""
    inherited = {name: value for name, value in process.environ().items() if name != lifeline.VARIABLE}
    started = subprocess.Popen(process.cmdline(), env=inherited | changed)
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait()


@contextmanager
def another_gateway(gateway: psutil.Process, spool: Path, **changed: str) -> Iterator[tuple[str, psutil.Process]]:
    """One like a gateway that runs, with a port and a spool of its own, once it is ready; its address."""
    [port] = free_ports(1)
    url, own = f"http://127.0.0.1:{port}", {"REWARDLOOP_PORT": str(port), "REWARDLOOP_SPOOL_FOLDER": str(spool)}
    with another(gateway, **own, **changed) as process:
        wait_until(lambda: answers(f"{url}/readyz"), "the other gateway is ready")
        yield url, process


def processor_seconds(process: psutil.Process) -> float:
    """Of a process and its children, those that have ended included."""
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    own = sum(one.user + one.system for one in times)
    return float(own + times[0].children_user + times[0].children_system)


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that it started."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]
