"""One scenario: load, fault, recovery, and what the checker found."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import msgspec

from tests.faults import checking
from tests.faults.bench import WINDOW, Bench
from tests.faults.checking import Violation
from tests.faults.ledger import AnyAttempt, DecisionAttempt, Ledger, latencies, lateness, percentile
from tests.faults.load import FEATURE_VALUE, Plan
from tests.faults.results import Result
from tests.faults.scenarios import Scenario
from tests.faults.stored import Stored, read_dead_letters, read_open_windows, read_owners, read_stored
from tests.faults.watching import Watcher

# Of a scenario's seconds, how many lie before the fault and how many it lasts at least; the rest is recovery.
BEFORE: Final = 0.2
FAULT: Final = 0.4
# The load goes on until so many decides in a row were made by a version, or for so long.
IN_A_ROW: Final = 10
RECOVERY_SECONDS: Final = 90.0
# A product gives up on an answer after so long.
TIMEOUT_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 60.0
SPOOL_SECONDS: Final = 30.0
MOST_MEMORY_MB: Final = 50.0
MOST_SERIES: Final = 500


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the monotonic clock."""

    started: float
    fault: float
    lifted: float
    ended: float
    # Megabytes of each service just before the fault.
    memory: dict[str, float]


def run(
    bench: Bench, scenario: Scenario, rate: float, seconds: float, folder: Path, say: Callable[[str], None]
) -> Result:
    """Returns once everything is joined, or does not join in time."""
    if (bench.alterations, bench.is_proxied) != (scenario.alterations, scenario.is_proxied):
        bench.restart(scenario.alterations, is_proxied=scenario.is_proxied)
    loop_id = f"faults-{scenario.name}"
    bench.make_loop(loop_id)
    dead = read_dead_letters(bench.engine)
    path = folder / f"{scenario.name}.jsonl"
    with Watcher(bench) as watcher:
        moments = _under_load(bench, scenario, _plan(bench, loop_id, path, rate), seconds, say)
        drained = _drain(bench, loop_id, moments.ended)
        after = bench.memory()
    ledger = Ledger.read(path)
    stored = {tenant: read_stored(bench.engine, tenant, loop_id) for tenant in bench.keys}
    violations = [
        *(
            violation
            for tenant in bench.keys
            for violation in checking.check_tenant(
                ledger.of(tenant), stored[tenant], WINDOW, clock_steps=scenario.steps_clock
            )
        ),
        *_platform(bench, watcher, loop_id, stored),
        *_stalls(scenario, watcher, moments),
        *_dead_letters(scenario, read_dead_letters(bench.engine) - dead),
        *_answers(scenario, ledger, moments),
        *_beside_the_fault(ledger, moments),
    ]
    if drained > DRAIN_SECONDS:
        violations.append(Violation("I14", f"not everything is joined {drained:.0f} s after the load"))
    return _result(scenario, ledger, moments, watcher, drained, _growth(moments.memory, after), violations)


def _plan(bench: Bench, loop_id: str, path: Path, rate: float) -> Plan:
    return Plan(
        url=bench.platform.url,
        loop_id=loop_id,
        keys=bench.keys,
        ledger=str(path),
        rate=rate,
        window=WINDOW,
        timeout=TIMEOUT_SECONDS,
        seed=1,
    )


def _under_load(bench: Bench, scenario: Scenario, plan: Plan, seconds: float, say: Callable[[str], None]) -> Moments:
    command = [sys.executable, "-m", "tests.faults.load", msgspec.json.encode(plan).decode()]
    load = subprocess.Popen(command)
    try:
        # It takes its time to start, which is not the baseline's.
        bench.until(lambda: _is_on_a_version(Path(plan.ledger), 1), "the load has begun")
        started = time.monotonic()
        time.sleep(BEFORE * seconds)
        memory, fault = bench.memory(), time.monotonic()
        say(f"{scenario.name}: {scenario.title}")
        scenario.inject(bench, plan.loop_id, FAULT * seconds)
        lifted = time.monotonic()
        say(f"{scenario.name}: over after {lifted - fault:.1f} s")
        time.sleep((1 - BEFORE - FAULT) * seconds)
        with suppress(TimeoutError):
            bench.until(lambda: _is_on_a_version(Path(plan.ledger), IN_A_ROW), "versions decide", RECOVERY_SECONDS)
        load.terminate()
        load.wait()
    finally:
        load.kill()
        load.wait()
    if load.returncode:
        raise RuntimeError(f"the load generator ended with {load.returncode}")
    return Moments(started, fault, lifted, time.monotonic(), memory)


def _is_on_a_version(ledger: Path, in_a_row: int) -> bool:
    return ledger.exists() and _is_decided_by_versions(Ledger.read_end(ledger), in_a_row)


def _is_decided_by_versions(ledger: Ledger, in_a_row: int) -> bool:
    last = ledger.decisions[-in_a_row:]
    return len(last) == in_a_row and all(one.outcome == "ok" and one.model_version is not None for one in last)


def _drain(bench: Bench, loop_id: str, since: float) -> float:
    """Seconds until nothing is spooled, unread or open; more than DRAIN_SECONDS where that did not come."""
    with bench.client() as http:

        def is_done() -> bool:
            try:
                told = http.get(f"/v1/loops/{loop_id}/statistics").raise_for_status().json()
            except httpx.HTTPError:
                return False
            lag, spooled = told["joiner_lag"], told["spooled"]
            if lag is None or any(lag.values()) or any(spooled.values()):
                return False
            return read_open_windows(bench.engine, loop_id) == 0

        try:
            bench.until(is_done, "everything is joined", DRAIN_SECONDS + WINDOW)
        except TimeoutError:
            return DRAIN_SECONDS + WINDOW
    return time.monotonic() - since


def _growth(before: dict[str, float], after: dict[str, float]) -> tuple[float, str]:
    """Megabytes, and which service: of the one that grew most."""
    return max(((after[name] - before[name], name) for name in before.keys() & after.keys()), default=(0.0, "none"))


def _platform(bench: Bench, watcher: Watcher, loop_id: str, stored: dict[str, Stored]) -> list[Violation]:
    """What is looked at beside the ledger: tenants, series, audit, logs, offsets."""
    found = checking.check_offsets(watcher.offsets)
    found += checking.check_text(bench.logs(), bench.secrets | {"a feature's value": FEATURE_VALUE})
    if foreign := read_owners(bench.engine, loop_id) - set(bench.keys):
        found.append(Violation("I9", f"rows of {loop_id} stand under {foreign}"))
    if watcher.most_series > MOST_SERIES:
        found.append(Violation("I10", f"{watcher.most_series} series"))
    asked = bench.asked.pop(loop_id)
    audited = {tenant: of.audited for tenant, of in stored.items()}
    if audited != asked:
        found.append(Violation("I12", f"audited {audited}, asked for {dict(asked)}"))
    return found


def _stalls(scenario: Scenario, watcher: Watcher, moments: Moments) -> list[Violation]:
    longest = watcher.longest_stall(moments.fault, moments.lifted)
    if scenario.longest_stall is None or longest <= scenario.longest_stall:
        return []
    return [Violation("I14", f"the joiner stood still for {longest:.1f} s")]


def _dead_letters(scenario: Scenario, new: int) -> list[Violation]:
    return [] if new == scenario.dead_letters else [Violation("I3", f"{new} dead letters, not {scenario.dead_letters}")]


def _answers(scenario: Scenario, ledger: Ledger, moments: Moments) -> list[Violation]:
    found = checking.check_every_decide_answered(ledger.decisions) if scenario.answers else []
    if scenario.serves_nothing:
        # What was under way at the kill had still been made by the whole one.
        since = moments.fault + 1
        served = [
            one.number
            for one in ledger.decisions
            if since <= one.sent_at and one.answered_at < moments.lifted and one.model_version is not None
        ]
        if served:
            found.append(Violation("I6", f"{len(served)} decisions by a corrupt version"))
    return found


def _beside_the_fault(ledger: Ledger, moments: Moments) -> list[Violation]:
    """Without a fault all is well: a run that only shows failures shows nothing."""
    fallen = [
        one.number
        for one in ledger.decisions
        if one.scheduled_at >= moments.started
        and one.answered_at < moments.fault
        and (one.outcome != "ok" or one.model_version is None)
    ]
    found = [Violation("I5", f"{len(fallen)} decides failed or fell back before the fault")] if fallen else []
    if not _is_decided_by_versions(ledger, IN_A_ROW):
        found.append(Violation("I5", "no version decides again at the end"))
    return found


def _result(
    scenario: Scenario,
    ledger: Ledger,
    moments: Moments,
    watcher: Watcher,
    drained: float,
    growth: tuple[float, str],
    violations: Sequence[Violation],
) -> Result:
    decides = ledger.decisions
    before = latencies(decides, moments.started, moments.fault)
    during = latencies(decides, moments.fault, moments.lifted)
    p99 = percentile(during, 0.99) * 1e3
    healed_from = moments.fault if scenario.heals else moments.lifted
    recovered = max(0.0, (_last_fallback(decides, moments.fault) or 0.0) - healed_from)
    spool = watcher.drained_in(moments.lifted)
    misses = []
    if scenario.p99 is not None and p99 > scenario.p99:
        misses.append(f"p99 {p99:.0f} ms, at most {scenario.p99:.0f}")
    if recovered > scenario.recovers_in:
        misses.append(f"back on the model after {recovered:.1f} s, at most {scenario.recovers_in:.0f}")
    if spool > SPOOL_SECONDS:
        misses.append(f"spool drained after {spool:.1f} s, at most {SPOOL_SECONDS:.0f}")
    memory, grown = growth
    if memory > MOST_MEMORY_MB:
        misses.append(f"{grown} grew by {memory:.0f} MB, at most {MOST_MEMORY_MB:.0f}")
    all_attempts: list[AnyAttempt] = [*decides, *ledger.feedback]
    return Result(
        scenario=scenario,
        acknowledged=ledger.acknowledged,
        unknown=sum(one.outcome == "unknown" for one in all_attempts),
        unanswered=sum(one.status != 200 for one in decides),
        p50_before=percentile(before, 0.5) * 1e3,
        p50=percentile(during, 0.5) * 1e3,
        p99=p99,
        fallbacks=_share_of_fallbacks(decides, moments),
        generator_late=percentile(lateness(all_attempts), 0.99) * 1e3,
        recovered=recovered,
        drained=drained,
        memory=memory,
        violations=violations,
        misses=misses,
    )


def _last_fallback(decides: Sequence[DecisionAttempt], since: float) -> float | None:
    return checking.recovered_at(one for one in decides if one.scheduled_at >= since)


def _share_of_fallbacks(decides: Sequence[DecisionAttempt], moments: Moments) -> float:
    during = [one for one in decides if moments.fault <= one.scheduled_at < moments.lifted]
    return sum(one.model_version is None for one in during) / max(1, len(during))
