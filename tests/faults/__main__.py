"""The fault suite: python -m tests.faults [--short] [--only NAME]… Exit status 1 where an invariant does not hold."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from deploy.local.server import ServerError
from tests.faults.bench import Bench
from tests.faults.results import Result
from tests.faults.running import run
from tests.faults.scenarios import PROOFS, SCENARIOS, Scenario
from tests.faults.table import markdown, verdict

console = Console(highlight=False, soft_wrap=True)
# By whether the run is short.
RATES: Final = {False: 100.0, True: 30.0}
SECONDS: Final = {False: 40.0, True: 10.0}
cli = typer.Typer(pretty_exceptions_enable=False)


@cli.command()
def main(
    short: Annotated[bool, typer.Option(help="Under six minutes: one fault of each kind.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Names of scenarios; again for more.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Decisions a second, and as much feedback: 100, or short 30.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Of load in each scenario at least: 40, or short 10.")] = None,
    bounds: Annotated[
        bool, typer.Option(help="Exit status 1 also where a bound on time or memory is not met.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Writes the table there.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Of all state and logs, kept; else a temporary one.")] = None,
) -> None:
    """Breaks the platform under load and holds what is stored against what was acknowledged."""
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - started:5.0f} s] {text}", markup=False)

    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    chosen = _chosen(short, only or [])
    results: list[Result] = []
    with ExitStack() as removing:
        state = folder or Path(removing.enter_context(_temporary()))
        for result in _run_all(chosen, rate or RATES[short], seconds or SECONDS[short], state, say):
            results.append(result)
            # What was measured stays, whatever comes next.
            if to is not None:
                to.write_text(markdown(results, command))
    console.print(markdown(results, command), markup=False)
    fails = [result for result in results if not result.holds or (bounds and result.misses)]
    raise typer.Exit(1 if fails else 0)


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


def _run_all(
    scenarios: list[Scenario], rate: float, seconds: float, folder: Path, say: Callable[[str], None]
) -> Iterator[Result]:
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
            say(f"{scenario.name}: {result.acknowledged} acknowledged; {verdict(result)}")
            for violation in result.violations:
                say(f"    {violation.invariant}: {violation.text}")
            yield result


if __name__ == "__main__":
    try:
        cli()
    except ServerError as error:
        sys.exit(str(error))
