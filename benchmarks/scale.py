"""What a decision costs in the production profile, with one and with two of everything, and the fleets that follow.

On the servers of `make services`, from 64 connections: decisions a second by one gateway and one replica of each model
service, then by two of each; and how fast one joiner, then two, join decisions and feedback. docs/scale.md comes of it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import httpx
import psutil
from sqlalchemy import Engine, text

from benchmarks.decide import LOOP, MODALITIES, Target, load, platform_body, require_wrk
from benchmarks.production import production, server_processes, servers, variables
from benchmarks.scale_report import DECIDING, Joined, Rates, Scale, write_report
from benchmarks.serving import (
    another,
    another_gateway,
    free_ports,
    member,
    paused,
    processor_seconds,
    served_platform,
    wait_for_version,
    wait_until,
)
from shared.db.engine import open_engine, read_session
from shared.db.statistics import read_statistics
from shared.settings import PlatformSettings

CONNECTIONS: Final = 64
BATCH: Final = 100
COUNTS: Final = (1, 2)
TENANT: Final = "default"
JOINED_TABLES: Final = ("decisions", "feedback", "experiences")
DOCS: Final = Path(__file__).resolve().parents[1] / "docs"

ResultT = TypeVar("ResultT")
# Processes by what they are.
Roles = dict[str, list[psutil.Process]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="of deciding")
    parser.add_argument("--decisions", type=int, default=5000, help="with feedback, to be joined")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where scale.md goes")
    options = parser.parse_args()
    require_wrk()
    with tempfile.TemporaryDirectory() as folder, production(Path(folder)) as settings:
        scale = measure(settings, options.seconds, options.decisions)
    write_report(scale, options.docs)
    print("SCALE", scale.model_dump_json())


def measure(settings: PlatformSettings, seconds: int, decisions: int) -> Scale:
    """On a platform of its own."""
    body, apart = json.dumps(platform_body()).encode(), {"REWARDLOOP_SEPARATE_MODEL_SERVICES": "true"}
    engine = open_engine(settings.database)
    rates, joined = [], []
    with (
        served_platform(settings.home, **variables(settings), **apart) as (url, key, platform),
        httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
    ):
        http.put(f"{url}/v1/loops/{LOOP}", json={"modalities": MODALITIES}).raise_for_status()
        wait_for_version(http, f"{url}/v1/loops/{LOOP}/decisions", body)
        own = {name: member(platform, f"services.{name}") for name in (*DECIDING, "feedback")}
        others = [member(platform, f"services.{name}") for name in ("trainer", "dashboard")]
        with paused([*own.values(), *others]):
            for count in COUNTS:
                with deciding(own, count, settings.home) as (gateways, roles):
                    urls = [f"{gateway}/v1/loops/{LOOP}" for gateway in gateways]
                    for one in urls:
                        wait_for_version(http, f"{one}/decisions", body)
                    rates.append(decided(urls, body, key, roles, seconds))
                    before = log_bytes(settings)
                    decide_and_tell(http, urls[0], decisions)
                    logged = log_bytes(settings) - before
                joined.append(join(engine, own["feedback"], count, logged / decisions))
    stored = {table: row_bytes(engine, table) for table in JOINED_TABLES}
    engine.dispose()
    return Scale(rates=rates, joined=joined, row_bytes=stored)


@contextmanager
def deciding(own: Mapping[str, psutil.Process], count: int, home: Path) -> Iterator[tuple[list[str], Roles]]:
    """So many gateways and replicas of each model service like the platform's own; the gateways' addresses."""
    with ExitStack() as stack:
        addresses: dict[str, str] = {}
        roles: Roles = {}
        for service in DECIDING[1:]:
            ports = free_ports(count)
            variable = f"REWARDLOOP_{service.upper()}_ADDRESS"
            changed = [{variable: f"127.0.0.1:{port}"} for port in ports]
            roles[service] = [stack.enter_context(another(own[service], **one)) for one in changed]
            addresses[variable] = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        spools = [home / f"spool-{number}-of-{count}" for number in range(count)]
        gateways = [stack.enter_context(another_gateway(own["gateway"], spool, **addresses)) for spool in spools]
        roles["gateway"] = [process for _, process in gateways]
        yield [url for url, _ in gateways], roles


def decided(urls: Sequence[str], body: bytes, key: str, roles: Roles, seconds: int) -> Rates:
    """From as many connections in all, however many gateways there are."""
    watched = roles | of_servers()
    targets = [Target(f"{url}/decisions", body, [], key) for url in urls]
    with ThreadPoolExecutor(len(targets)) as drivers:

        def drive(length: int) -> list[dict[str, float]]:
            return list(drivers.map(lambda target: load(target, CONNECTIONS // len(targets), length), targets))

        drive(3)
        found, spent = costing(watched, lambda: drive(seconds))
    rate = sum(one["rate"] for one in found)
    return Rates(
        rate=rate,
        p50_ms=max(one["p50_ms"] for one in found),
        p99_ms=max(one["p99_ms"] for one in found),
        errors=int(sum(one["errors"] for one in found)),
        cpu_ms={name: 1000 * one / (rate * seconds) for name, one in spent.items()},
    )


def decide_and_tell(http: httpx.Client, url: str, decisions: int) -> None:
    """In lists; each decision gets a feedback."""
    body = {"decisions": [platform_body()] * BATCH}
    for _ in range(decisions // BATCH):
        made = http.post(f"{url}/decisions:batch", json=body).raise_for_status().json()["decisions"]
        events = [{"decision_id": one["decision_id"], "metric": "reward", "value": 1.0} for one in made]
        http.post(f"{url}/feedback", json=events).raise_for_status()


def join(engine: Engine, own: psutil.Process, count: int, log_bytes_a_decision: float) -> Joined:
    """All that is waiting, by so many joiners; from the first event on, so that their start does not count."""
    before = joined_events(engine)
    with ExitStack() as stack:
        joiners = [stack.enter_context(another(own)) for _ in range(count)]
        wait_until(lambda: joined_events(engine) > before, "the first event is joined")
        watched = {"joiner": joiners} | of_servers()
        first, started = joined_events(engine), time.perf_counter()
        (last, ended), spent = costing(watched, lambda: settled(engine))
    events, took = last - first, ended - started
    return Joined(
        joiners=count,
        events_per_second=events / took,
        cpu_ms={name: 1000 * one / events for name, one in spent.items()},
        log_bytes=log_bytes_a_decision,
    )


def settled(engine: Engine) -> tuple[int, float]:
    """How many events are joined once no more come, and when the last did."""
    seen, at = joined_events(engine), time.perf_counter()
    while time.perf_counter() < at + 3:
        # Looking costs the database time, which counts.
        time.sleep(0.25)
        now = joined_events(engine)
        if now != seen:
            seen, at = now, time.perf_counter()
    return seen, at


def joined_events(engine: Engine) -> int:
    with read_session(engine) as session:
        counts = read_statistics(session, TENANT, LOOP).counts
    return counts["decisions"] + counts["feedback"]


def costing(watched: Roles, work: Callable[[], ResultT]) -> tuple[ResultT, dict[str, float]]:
    """What comes of some work, and the processor seconds that each role spent meanwhile."""
    before = {name: sum(map(processor_seconds, processes)) for name, processes in watched.items()}
    result = work()
    return result, {name: sum(map(processor_seconds, watched[name])) - spent for name, spent in before.items()}


def of_servers() -> dict[str, list[psutil.Process]]:
    return {name: [process] for name, process in server_processes().items()}


def log_bytes(settings: PlatformSettings) -> float:
    """On the broker's disk, of all topics of this platform."""
    data = servers()[0].folder / "data"
    sizes: list[int] = [file.stat().st_size for file in data.glob(f"{settings.kafka_topic_prefix}*/*.log")]
    return sum(sizes)


def row_bytes(engine: Engine, table: str) -> float:
    """With its indexes."""
    with engine.connect() as connection:
        size, rows = connection.execute(text(f"SELECT pg_total_relation_size('{table}'), count(*) FROM {table}")).one()
    return float(size / max(1, rows))


if __name__ == "__main__":
    main()
