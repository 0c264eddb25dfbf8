"""The results as a table: on the terminal, and as docs/reliability.md has it."""

import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import psutil

from tests.faults.results import Result

HEAD = (
    "fault",
    "acknowledged",
    "unknown",
    "decides unanswered",
    "by fallback",
    "p50 before / in the fault, ms",
    "p99 in the fault, ms",
    "generator late, p99 ms",
    "back on the model, s",
    "all joined, s",
    "memory, MB",
    "result",
)


def markdown(results: Sequence[Result], command: str) -> str:
    """The whole file."""
    return "\n".join([*_heading(results, command), *_rows(results), "", *_findings(results)]) + "\n"


def verdict(result: Result) -> str:
    """One word or two, and what is wrong if anything is."""
    if result.scenario.breaks:
        broken = sorted({violation.invariant for violation in result.violations})
        return f"red, as it must be: {', '.join(broken)}" if result.holds else "NOT RED: the suite cannot fail"
    if result.violations:
        return "BROKEN: " + ", ".join(sorted({violation.invariant for violation in result.violations}))
    return "; ".join(["holds", *result.misses])


def _heading(results: Sequence[Result], command: str) -> Iterator[str]:
    total = sum(result.acknowledged for result in results if not result.scenario.breaks)
    memory = psutil.virtual_memory().total / 2**30
    yield "# Reliability"
    yield ""
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, {memory:.0f} GB"
    yield f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine}."
    yield f"{total:,} acknowledged events across the faults."
    yield ""
    yield "Each row is a baseline, the fault under load and a recovery; then the checker holds what the product was"
    yield "told against what is stored (`tests/faults/checking.py`). Generator, platform and servers share the machine."
    yield ""
    yield "| " + " | ".join(HEAD) + " |"
    yield "|---" * len(HEAD) + "|"


def _rows(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        cells = (
            result.scenario.title,
            f"{result.acknowledged:,}",
            str(result.unknown),
            str(result.unanswered),
            f"{result.fallbacks:.0%}",
            f"{result.p50_before:.0f} / {result.p50:.0f}",
            f"{result.p99:.0f}",
            f"{result.generator_late:.0f}",
            f"{result.recovered:.1f}",
            f"{result.drained:.1f}",
            f"{result.memory:+.0f}",
            verdict(result),
        )
        yield "| " + " | ".join(cells) + " |"


def _findings(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.violations and not result.scenario.breaks:
            yield f"- {result.scenario.name}:"
            yield from (f"  - {violation.invariant}: {violation.text}" for violation in result.violations)
