"""The fault suite: python -m tests.faults [--short] [--only NAME]… Exit status 1 where anything is broken."""

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.local.server import ServerError
from tests.faults.bench import Bench
from tests.faults.running import Result, run
from tests.faults.scenarios import PROOFS, SCENARIOS, Scenario
from tests.faults.table import markdown, verdict

console = Console(highlight=False, soft_wrap=True)
cli = typer.Typer(pretty_exceptions_enable=False)


@cli.command()
def main(
    short: Annotated[bool, typer.Option(help="Under six minutes: one fault of each kind.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Names of scenarios; again for more.")] = None,
    rate: Annotated[float, typer.Option(help="Decisions a second; about as much feedback follows.")] = 100.0,
    seconds: Annotated[float, typer.Option(help="Of load in each scenario: 40 make 200,000 events.")] = 40.0,
    to: Annotated[Path | None, typer.Option(help="Writes the table there.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Of all state and logs, kept; else a temporary one.")] = None,
) -> None:
    """Breaks the platform under load and holds what is stored against what was acknowledged."""
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - started:5.0f} s] {text}", markup=False)

    with ExitStack() as removing:
        state = folder or Path(removing.enter_context(_temporary()))
        results = _results(_chosen(short, only or []), rate, seconds, state, say)
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    text = markdown(results, command)
    console.print(text, markup=False)
    if to is not None:
        to.write_text(text)
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rewardloop-faults-", ignore_cleanup_errors=True)


def _chosen(short: bool, only: list[str]) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in (*SCENARIOS, *PROOFS)}
    for name in only:
        if name not in known:
            raise typer.BadParameter(f"{name} is none of {', '.join(known)}")
    if only:
        return [known[name] for name in only]
    return [scenario for scenario in known.values() if scenario.short or not short]


def _results(
    scenarios: list[Scenario], rate: float, seconds: float, folder: Path, say: Callable[[str], None]
) -> list[Result]:
    results = []
    say("Kafka, PostgreSQL, Redis and the platform start")
    with Bench(folder).running() as bench:
        say("they are ready")
        for scenario in scenarios:
            if scenario.needs_own_disk and not bench.spool.is_mount():
                say(f"{scenario.name}: left out, since this machine lets nobody mount a disk")
                continue
            try:
                result = run(bench, scenario, rate, seconds, folder, say)
            except (TimeoutError, AssertionError) as error:
                result = Result.stuck(scenario, str(error))
            results.append(result)
            say(f"{scenario.name}: {result.acknowledged} acknowledged; {verdict(result)}")
            for violation in result.violations:
                say(f"    {violation.invariant}: {violation.text}")
    return results


if __name__ == "__main__":
    try:
        cli()
    except ServerError as error:
        sys.exit(str(error))
