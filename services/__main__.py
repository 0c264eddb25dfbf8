"""The embedded profile: the command `rewardloop`, and the one module that may know several services."""

import asyncio
import fcntl
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn

import httpx
import typer
from pydantic import Field
from rich.console import Console

from services.cli.app import CommandGroup, mount
from services.supervisor import Program, Supervisor
from shared.eventlog import EventLogError
from shared.settings import PlatformSettings, told

if TYPE_CHECKING:
    from sqlalchemy import Engine

MAKE_NAMES: Final = ("make", "gmake")
METRICS_PORT: Final = "REWARDLOOP_METRICS_PORT"
# The gateway tells its metrics beside its API; the dashboard has none.
TOLD_ELSEWHERE: Final = ("gateway", "dashboard")
MODEL_SERVICES: Final = ("encoding", "fusion", "policy")
# The niceness of what nobody's decision waits for. What waits for the joiner joins together, which costs less.
BEHIND: Final = 5
INTERRUPT_SECONDS: Final = 0.25
INTERRUPT_LOOKS: Final = 3

cli = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Rewardloop: decide from everything you know of the moment, and learn from what happens next.",
)
console = Console(stderr=True, highlight=False)


class EmbeddedSettings(PlatformSettings):
    """What `rewardloop up` is told by the environment."""

    port: int = Field(default=8000, ge=1, le=65535, description="The gateway's port on 127.0.0.1.")
    dashboard_port: int = Field(default=8001, ge=1, le=65535, description="The dashboard's port on 127.0.0.1.")
    separate_model_services: bool = Field(
        default=False,
        description="Encoding, fusion and policy in a process each: one that ends takes none of the others with it, "
        "for about 400 MB more.",
    )


@cli.command()
def up() -> None:
    """Runs the whole platform in the foreground; Ctrl-C ends it."""
    settings = told(EmbeddedSettings)
    home = settings.home.resolve()
    with _state_folder(home), tempfile.TemporaryDirectory(prefix="rewardloop-") as sockets:
        run = with_metrics(programs(settings), settings.metrics_port)
        for port, variable in (
            (settings.port, "REWARDLOOP_PORT"),
            (settings.dashboard_port, "REWARDLOOP_DASHBOARD_PORT"),
            *((int(program.variables[METRICS_PORT]), METRICS_PORT) for program in run if program.variables),
        ):
            _refuse_taken_port(port, variable)
        _open_database(settings.database).dispose()
        supervisor = Supervisor(run, _environment(settings, Path(sockets)), home / "logs", console.print)
        asyncio.run(_run(supervisor, settings))


@cli.command()
def init() -> None:
    """Brings the database to this version's schema, and makes the topics where the log is Kafka; once more is safe."""
    settings = told(EmbeddedSettings)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = _open_database(settings.database)
    console.print("the database", engine.url.render_as_string(), "has this version's schema")
    engine.dispose()
    if settings.kafka_servers is None:
        console.print("the event log is local, below", str(settings.log_folder), "and makes its topics by itself")
        return
    from shared.eventlog.topics import prepare_topics

    try:
        for line in prepare_topics(settings):
            console.print(line)
    except EventLogError as error:
        _give_up(str(error))


@cli.command("model-services", hidden=True)
def model_services() -> None:
    """The three model services in one process, each with a server of its own."""
    from services.encoding.server import run as run_encoding
    from services.encoding.settings import EncodingSettings
    from services.fusion.server import run as run_fusion
    from services.fusion.settings import FusionServiceSettings
    from services.policy.server import run as run_policy
    from services.policy.settings import PolicySettings
    from shared.model_metrics import ModelMetrics
    from shared.model_server import run_process

    async def serve(stop: asyncio.Event, metrics: ModelMetrics) -> None:
        await asyncio.gather(
            run_encoding(told(EncodingSettings), stop, metrics),
            run_fusion(told(FusionServiceSettings), stop, metrics),
            run_policy(told(PolicySettings), stop, metrics),
        )

    run_process("models", told(PlatformSettings), serve)


mount(cli)


def main() -> None:
    """The console script."""
    cli()


async def _run(supervisor: Supervisor, settings: EmbeddedSettings) -> None:
    stop = _stop_on_signals()
    besides = [asyncio.create_task(_announce(settings)), asyncio.create_task(_stop_with_make(stop))]
    await supervisor.run(stop)
    for task in besides:
        task.cancel()
    console.print("rewardloop has stopped; its state is in", str(settings.home))


async def _announce(settings: EmbeddedSettings) -> None:
    """Says where to go as soon as the gateway is ready."""
    gateway = f"http://127.0.0.1:{settings.port}"
    async with httpx.AsyncClient(base_url=gateway) as client:
        while not await _is_ready(client):
            await asyncio.sleep(0.1)
    console.print(f"rewardloop is ready   API  {gateway}   (its documentation: {gateway}/docs)")
    console.print(f"                      dashboard  http://127.0.0.1:{settings.dashboard_port}")
    console.print(f"                      manage key in {settings.home / 'bootstrap.key'}   Ctrl-C stops everything")


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


async def _stop_with_make(stop: asyncio.Event) -> None:
    """Stops when GNU make, whose recipe this is, got SIGINT alone: it does not pass that on, and waits for us."""
    parent = os.getppid()
    if not _is_make(parent):
        return
    # A parent blocks signals for a moment whenever it starts a process: only what lasts counts.
    seen = 0
    while seen < INTERRUPT_LOOKS:
        await asyncio.sleep(INTERRUPT_SECONDS)
        seen = seen + 1 if _is_handling_interrupt(parent) else 0
    stop.set()


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in MAKE_NAMES
    except OSError:
        return False


def _is_handling_interrupt(pid: int) -> bool:
    """On Linux, a signal that a process is handling shows among those that it blocks."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked.split()[1], 16) & 1 << (signal.SIGINT - 1))


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def programs(settings: EmbeddedSettings) -> list[Program]:
    """The processes of the platform."""
    python = [sys.executable, "-m"]
    together = [Program("models", [*python, "services", "model-services"])]
    apart = [Program(name, [*python, f"services.{name}"]) for name in MODEL_SERVICES]
    return [
        *(apart if settings.separate_model_services else together),
        Program("gateway", [*python, "services.gateway"]),
        Program("feedback", [*python, "services.feedback"], niceness=BEHIND),
        Program("trainer-worker", [*python, "services.trainer", "worker"], niceness=BEHIND),
        Program("trainer-beat", [*python, "services.trainer", "beat"], niceness=BEHIND),
        Program("dashboard", [*python, "services.dashboard"], niceness=BEHIND),
    ]


def with_metrics(run: Sequence[Program], first: int) -> list[Program]:
    """Each that has no `/metrics` beside something else on a port of its own, from the first one on; 0: none."""
    if not first:
        return list(run)
    ports = count(first)
    return [
        program if program.name in TOLD_ELSEWHERE else replace(program, variables={METRICS_PORT: str(next(ports))})
        for program in run
    ]


def _environment(settings: EmbeddedSettings, sockets: Path) -> dict[str, str]:
    addresses = {f"REWARDLOOP_{service.upper()}_ADDRESS": f"unix:{sockets / service}" for service in MODEL_SERVICES}
    return {
        **os.environ,
        **addresses,
        "REWARDLOOP_HOME": str(settings.home.resolve()),
        "REWARDLOOP_CHECK_ENCODERS": "true",
        "REWARDLOOP_GATEWAY_URL": f"http://127.0.0.1:{settings.port}",
        # One thread each: the processes share the machine's cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _open_database(url: str) -> "Engine":
    """With this version's schema in it."""
    # Neither what talks to a platform nor the model services' process need SQLAlchemy and Alembic for this.
    from shared.db.schema import UnusableDatabaseError
    from shared.db.upgrading import open_upgraded

    try:
        return open_upgraded(url)
    except UnusableDatabaseError as error:
        _give_up(str(error))


@contextmanager
def _state_folder(home: Path) -> Iterator[None]:
    """Holds the state folder for this platform alone."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _give_up(f"process {_holder(lock)} runs on the state folder {home}: stop it, or set REWARDLOOP_HOME")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read() or "unknown"


def _refuse_taken_port(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            _give_up(f"port {port} on 127.0.0.1 is taken: stop what listens there, or set {variable}")


def _give_up(reason: str) -> NoReturn:
    console.print(f"rewardloop cannot start: {reason}")
    raise typer.Exit(1)


if __name__ == "__main__":
    main()
