"""docs/scale.md from what benchmarks.scale has measured: what a decision costs, and fleets on paper."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.measured import Measured
from shared.settings import PlatformSettings

DECIDING: Final = ("gateway", "encoding", "fusion", "policy")
RATES: Final = (10, 1_000, 100_000)
# Of a core that one process may be busy, so that a burst finds room.
USED: Final = 0.6
PARTITIONS: Final[int] = PlatformSettings.model_fields["kafka_partitions"].default
# What one PostgreSQL takes before one machine is no longer the answer.
DATABASE_CORES: Final = 32
DATABASE_GIGABYTES_A_DAY: Final = 10_000
DAY: Final = 86_400
GIGABYTE: Final = 1e9


@dataclass(frozen=True, slots=True)
class Rates:
    """Decisions a second, their latency, and processor milliseconds a decision by role."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Joined:
    """Events a second by so many joiners, processor milliseconds an event by role, and bytes on the log of a decision
    with its feedback."""

    joiners: int
    events_per_second: float
    cpu_ms: dict[str, float]
    log_bytes: float


class Scale(Measured):
    """By one and by two of everything; `row_bytes` of each table, indexes included."""

    rates: list[Rates]
    joined: list[Joined]
    row_bytes: dict[str, float]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What so many decisions a second, a feedback each, take."""

    rate: int
    processes: dict[str, int]
    kafka_cores: float
    database_cores: float
    log_megabytes_a_second: float
    database_gigabytes_a_day: float

    @property
    def bottleneck(self) -> str:
        """What is short first."""
        if self.database_cores > DATABASE_CORES or self.database_gigabytes_a_day > DATABASE_GIGABYTES_A_DAY:
            return (
                f"PostgreSQL: {self.database_cores:,.0f} cores and {self.database_gigabytes_a_day:,.0f} GB a day are "
                "more than one machine takes. Divide the loops among platforms, each with a database of its own: loops "
                "share nothing."
            )
        if self.processes["joiner"] > PARTITIONS:
            return (
                f"partitions: {self.processes['joiner']} joiners share no more than there are, {PARTITIONS} by "
                "default. Set `REWARDLOOP_KAFKA_PARTITIONS` before the first start."
            )
        most = max(DECIDING, key=lambda name: self.processes[name])
        if self.processes[most] > 1:
            return f"the {most}, which is one thread: {self.processes[most]} of them."
        return "nothing: one process of each is mostly idle."


def plan_fleet(scale: Scale, rate: int) -> Fleet:
    """By what one of each costs."""
    deciding, joining = scale.rates[0].cpu_ms, scale.joined[0].cpu_ms
    processes = {name: _processes(rate * deciding[name]) for name in DECIDING}
    events = 2 * rate
    processes["joiner"] = _processes(events * joining["joiner"])
    return Fleet(
        rate=rate,
        processes=processes,
        kafka_cores=(rate * deciding["Kafka"] + events * joining["Kafka"]) / 1000,
        database_cores=(rate * deciding["PostgreSQL"] + events * joining["PostgreSQL"]) / 1000,
        log_megabytes_a_second=rate * scale.joined[0].log_bytes / 1e6,
        database_gigabytes_a_day=rate * DAY * sum(scale.row_bytes.values()) / GIGABYTE,
    )


def write_report(scale: Scale, docs: Path) -> None:
    """Writes the page, and shows it."""
    page = "\n".join(_page(scale))
    (docs / "scale.md").write_text(page)
    Console().print(Markdown(page))


def _page(scale: Scale) -> Iterator[str]:
    yield "# Scale\n"
    yield (
        f"Measured by `make bench-scale` on {scale.machine}, {scale.measured_on}: Kafka, PostgreSQL, wrk and the "
        "platform share that machine, so two of everything can hardly be faster than one. What it tells is the cost of "
        "a decision, and that a second one of each takes its share. The decision is that of `make bench`: three "
        "embeddings of 1,024 numbers together, ten actions of 32 features, from 64 connections.\n"
    )
    yield "## One and two of each\n"
    yield "| | one | two |\n|---|---|---|"
    yield _row("decisions a second", [f"{one.rate:,.0f}" for one in scale.rates])
    yield _row("p50, p99", [f"{one.p50_ms:.0f} ms, {one.p99_ms:.0f} ms" for one in scale.rates])
    yield _row("failed", [str(one.errors) for one in scale.rates])
    for role in (*DECIDING, "Kafka"):
        yield _row(f"{role}, ms of processor a decision", [f"{one.cpu_ms[role]:.2f}" for one in scale.rates])
    yield _row("events joined a second", [f"{one.events_per_second:,.0f}" for one in scale.joined])
    for role in ("joiner", "PostgreSQL", "Kafka"):
        yield _row(f"{role}, ms of processor an event", [f"{one.cpu_ms[role]:.2f}" for one in scale.joined])
    yield "\n## What one decision leaves behind\n"
    rows = ", ".join(f"{size / 1000:.1f} KB in `{table}`" for table, size in scale.row_bytes.items())
    yield (
        f"With its feedback {scale.joined[0].log_bytes / 1000:.1f} KB on the log (a copy of it), for as long as its "
        f"retention; and three rows of the database, indexes included: {rows}. The three embeddings alone "
        "are 4.1 KB, the features of ten actions most of the rest: what a product sends is what it pays for.\n"
    )
    yield "## Fleets\n"
    yield (
        f"On paper, from these figures, with processes that are busy {USED:.0%} of a core like this one, and a "
        "feedback for each decision. On a GPU the model services take less; fine-tuning comes on top, by loops and not "
        "by decisions.\n"
    )
    fleets = [plan_fleet(scale, rate) for rate in RATES]
    yield _row("", [f"{fleet.rate:,}/s" for fleet in fleets]) + "\n|" + "---|" * (len(fleets) + 1)
    for name in (*DECIDING, "joiner"):
        yield _row(name, [f"{fleet.processes[name]:,}" for fleet in fleets])
    yield _row("Kafka, cores", [f"{fleet.kafka_cores:,.1f}" for fleet in fleets])
    yield _row("PostgreSQL, cores", [f"{fleet.database_cores:,.1f}" for fleet in fleets])
    yield _row("on the log, MB a second", [f"{fleet.log_megabytes_a_second:,.1f}" for fleet in fleets])
    yield _row("in the database, GB a day", [f"{fleet.database_gigabytes_a_day:,.0f}" for fleet in fleets])
    yield "\nWhat is short first:\n"
    for fleet in fleets:
        yield f"- {fleet.rate:,} decisions a second: {fleet.bottleneck}"
    yield ""


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def _processes(milliseconds: float) -> int:
    return max(1, math.ceil(milliseconds / 1000 / USED))
