"""What `rewardloop doctor` looks at. Looking changes nothing: no folder is made, no schema is upgraded."""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from services.cli.api import CommandError
from services.cli.connection import ConnectionSettings
from shared.db.engine import open_engine
from shared.db.schema import revision_of, revisions
from shared.settings import PlatformSettings

State = Literal["fine", "wrong", "note"]

OLDEST_PYTHON: Final = (3, 11)
LEAST_ROOM: Final = 2 * 1024**3
SECONDS: Final = 3.0
FURTHEST_CLOCKS: Final = 5.0
# 2025: a machine whose clock stands before it was never set.
EARLIEST: Final = 1_735_689_600


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do where it is not fine."""

    what: str
    state: State
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What is looked at. The clock gives seconds since 1970."""

    clock: Callable[[], float]
    platform: PlatformSettings = field(default_factory=PlatformSettings)
    connection: ConnectionSettings = field(default_factory=ConnectionSettings)
    transport: httpx.BaseTransport | None = None

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.connection.gateway_url, timeout=SECONDS, transport=self.transport)


def check_python(_: Installation) -> Iterator[Finding]:
    """Python's version, and torch, which this looks up without importing it."""
    seen = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("Python", "fine", seen)
    else:
        yield Finding("Python", "wrong", seen, "Rewardloop needs 3.11 or newer: make install PYTHON=…")
    try:
        yield Finding("torch", "fine", metadata.version("torch"))
    except metadata.PackageNotFoundError:
        yield Finding("torch", "note", "not installed", "model services and the trainer need it: make install")


def check_state_folder(installation: Installation) -> Iterator[Finding]:
    """Rights and room of the state folder."""
    home = installation.platform.home.resolve()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        yield Finding(
            "state folder", "wrong", f"{existing} cannot be written", "mend its owner, or set REWARDLOOP_HOME"
        )
        return
    yield Finding("state folder", "fine", str(home) if home.exists() else f"{home} is yet to be made")
    room = shutil.disk_usage(existing).free
    seen = f"{room / 1024**3:.1f} GiB free"
    is_enough = room >= LEAST_ROOM
    advice = "" if is_enough else "make room: a full disk stops decisions from being logged"
    yield Finding("room", "fine" if is_enough else "wrong", seen, advice)
    key = home / "bootstrap.key"
    if key.exists():
        yield _check_key_file(key)


def _check_key_file(key: Path) -> Finding:
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        return Finding("bootstrap.key", "wrong", f"mode {mode:o}", f"others may read the manage key: chmod 600 {key}")
    return Finding("bootstrap.key", "fine", f"mode {mode:o}")


def check_database(installation: Installation) -> Iterator[Finding]:
    """Whether the database answers and has this release's schema."""
    try:
        url = make_url(installation.platform.database)
        if url.drivername.startswith("sqlite") and not Path(url.database or "").exists():
            yield Finding("database", "fine", "SQLite, made by the first start")
            return
        engine = open_engine(installation.platform.database)
    except (ArgumentError, ModuleNotFoundError) as error:
        yield Finding("database", "wrong", str(error), "set REWARDLOOP_DATABASE_URL as in postgresql+psycopg://…")
        return
    shown = url.render_as_string(hide_password=True)
    try:
        yield _check_schema(engine, shown)
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        yield Finding("database", "wrong", f"{shown}: {reason}", "start it, or set REWARDLOOP_DATABASE_URL")
    finally:
        engine.dispose()


def _check_schema(engine: Engine, url: str) -> Finding:
    known, found = revisions(), revision_of(engine)
    newest = known[-1]
    if found == newest:
        return Finding("database", "fine", f"{url}, schema {found}")
    is_newer = found is not None and found not in known
    advice = "a newer release wrote it: run that one" if is_newer else "run `rewardloop init`"
    return Finding("database", "wrong", f"{url}, schema {found or 'empty'} in place of {newest}", advice)


def check_addresses(installation: Installation) -> Iterator[Finding]:
    """Whether something listens where Kafka and Redis are said to be."""
    settings = installation.platform
    for server in (settings.kafka_servers or "").split(","):
        if server:
            yield _check_address("Kafka", server, 9092, "REWARDLOOP_KAFKA_SERVERS")
    if settings.kafka_servers is None:
        yield Finding("event log", "fine", f"local, below {settings.log_folder}")
    if settings.broker_url is not None:
        yield _check_address("Redis", settings.broker_url, 6379, "REWARDLOOP_BROKER_URL")


def _check_address(what: str, address: str, port: int, variable: str) -> Finding:
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        at = (parts.hostname or "", parts.port or port)
        with socket.create_connection(at, SECONDS):
            return Finding(what, "fine", f"{at[0]}:{at[1]} listens")
    except (OSError, ValueError) as error:
        where = f"{parts.hostname}:{parts.netloc.rpartition(':')[2] or port}"
        return Finding(what, "wrong", f"{where}: {error}", f"start it, or set {variable}")


def check_platform(installation: Installation) -> Iterator[Finding]:
    """Whether the gateway answers, its model services too, the key is known, and the clocks agree."""
    url = installation.connection.gateway_url
    try:
        with installation.http() as http:
            answer = http.get("/readyz")
            yield from _check_readiness(answer, url)
            yield from _check_clocks(answer, installation.clock())
            yield from _check_key(http, installation.connection)
    except httpx.TransportError as error:
        yield Finding("gateway", "note", f"{url} does not answer ({error})", "start it: rewardloop up")
        yield from _check_port(installation.connection)
        yield from _check_clock(installation.clock())
    except httpx.InvalidURL as error:
        yield Finding("gateway", "wrong", f"{url}: {error}", "set REWARDLOOP_URL as in http://127.0.0.1:8000")


def _check_readiness(answer: httpx.Response, url: str) -> Iterator[Finding]:
    try:
        body = answer.json()
        status, services = str(body["status"]), dict(body["services"])
    except (ValueError, KeyError, TypeError):
        yield Finding("gateway", "wrong", f"{url} is no gateway", "stop what listens there, or set REWARDLOOP_URL")
        return
    advice = "" if answer.is_success else "it has not read loops and keys yet: look at its log and at the database"
    yield Finding("gateway", "fine" if answer.is_success else "wrong", f"{url} is {status}", advice)
    for service, answers in services.items():
        advice = "" if answers else f"decisions are made by fallback: start it, or look at its log ({service})"
        yield Finding(service, "fine" if answers else "wrong", "answers" if answers else "does not answer", advice)


def _check_clocks(answer: httpx.Response, now: float) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        yield from _check_clock(now)
        return
    apart = abs(theirs - now)
    advice = "" if apart <= FURTHEST_CLOCKS else "set both by NTP: windows of rewards are measured by them"
    yield Finding("clock", "wrong" if advice else "fine", f"{apart:.0f} s from the gateway's", advice)


def _check_clock(now: float) -> Iterator[Finding]:
    is_set = now >= EARLIEST
    yield Finding("clock", "fine" if is_set else "wrong", f"{now:.0f} s since 1970", "" if is_set else "set it by NTP")


def _check_key(http: httpx.Client, connection: ConnectionSettings) -> Iterator[Finding]:
    try:
        answer = http.get("/v1/loops", headers={"Authorization": f"Bearer {connection.read_key()}"})
    except CommandError as error:
        yield Finding("key", "wrong", "none was found", str(error))
        return
    match answer.status_code:
        case httpx.codes.UNAUTHORIZED:
            yield Finding("key", "wrong", "the gateway does not know it", "set REWARDLOOP_KEY, or REWARDLOOP_HOME")
        case httpx.codes.FORBIDDEN:
            yield Finding("key", "note", "it is no manage key", "commands that manage need one: rewardloop keys create")
        case _:
            yield Finding("key", "fine", "a manage key")


def _check_port(connection: ConnectionSettings) -> Iterator[Finding]:
    if connection.url is not None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", connection.port))
        except OSError as error:
            yield Finding(
                "port", "wrong", f"{connection.port}: {error.strerror}", "stop what is there, or set REWARDLOOP_PORT"
            )
            return
    yield Finding("port", "fine", f"{connection.port} is free")


CHECKS: Final = (check_python, check_state_folder, check_database, check_addresses, check_platform)
