"""The invariants of RELIABILITY: what the product was told, held against what is stored. Functions without I/O."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from shared.domain import Decision
from tests.faults.ledger import AnyAttempt, DecisionAttempt, Ledger, outcomes
from tests.faults.stored import Joined, Stored, StoredFeedback, Version

MICROSECONDS: Final = 1_000_000
# What a distribution may be off by, and a sum of rewards in decimal fractions.
ROUNDING: Final = 1e-9
# The mean of 1/p is told from rows whose every action had at least this chance.
LEAST_PROBABILITY: Final = 0.005
# How often that check may be wrong about a platform that keeps it.
FALSE_ALARMS: Final = 1e-5
# Examples of a violation that are told.
EXAMPLES: Final = 3


class Violation(NamedTuple):
    """An invariant that does not hold, by its name in RELIABILITY, and what was seen."""

    invariant: str
    text: str


def check_tenant(ledger: Ledger, stored: Stored, window: float, *, clock_steps: bool = False) -> list[Violation]:
    """I1 to I8 of one tenant's loop, once everything is joined; `window` in seconds.

    Where the gateway's clock steps its times are not held against the trainer's.
    """
    return [
        *_decisions_once(ledger, stored),
        *_feedback_once(ledger, stored),
        *_accounted_for(ledger, stored),
        *_distributions(ledger, stored),
        *_answered(ledger),
        *_versions(stored, clock_steps),
        *_rewards(ledger, stored, window),
    ]


def _decisions_once(ledger: Ledger, stored: Stored) -> Iterator[Violation]:
    """I2, by the number that the product wrote on each: an unknown one may have an id that it never learned."""
    rows = Counter(int(row.decision.subject_id or 0) for row in stored.decisions)
    yield from _exactly_once("I2", "decision", outcomes(ledger.decisions), rows)
    ids = {int(row.decision.subject_id or 0): row.decision for row in stored.decisions}
    for attempt in ledger.decisions:
        row = ids.get(attempt.number)
        if attempt.outcome == "ok" and row is not None and not _agree(attempt, row):
            yield Violation("I2", f"decision {attempt.number} was answered otherwise than it is stored")


def _agree(attempt: DecisionAttempt, row: Decision) -> bool:
    version = None if row.model_version is None else str(row.model_version)
    told = (attempt.decision_id, attempt.action_id, attempt.probability, attempt.model_version)
    return told == (row.decision_id, row.action_id, row.probability, version)


def _feedback_once(ledger: Ledger, stored: Stored) -> Iterator[Violation]:
    """I1: by the product's own ids."""
    numbers = {attempt.feedback_id: attempt.number for attempt in ledger.feedback}
    rows = Counter(numbers.get(row.feedback_id, 0) for row in stored.feedback)
    yield from _exactly_once("I1", "feedback", outcomes(ledger.feedback), rows)
    values = {attempt.feedback_id: attempt.value for attempt in ledger.feedback}
    wrong = [row.feedback_id for row in stored.feedback if values.get(row.feedback_id, row.value) != row.value]
    if wrong:
        yield Violation("I1", f"feedback has another value than was sent: {_some(wrong)}")


def _exactly_once(invariant: str, noun: str, sent: Mapping[int, str], rows: Counter[int]) -> Iterator[Violation]:
    """ok: one row; unknown: one at most; failed or unlogged: none; nothing that was never sent."""
    lost = [number for number, outcome in sent.items() if outcome == "ok" and not rows[number]]
    doubled = [number for number, count in rows.items() if count > 1]
    uncalled = [number for number in rows if sent.get(number) in ("failed", "unlogged")]
    foreign = [number for number in rows if number not in sent]
    found = {
        "acknowledged, and not stored": lost,
        "stored more than once": doubled,
        "refused, and stored": uncalled,
        "stored, and never sent": foreign,
    }
    for what, numbers in found.items():
        if numbers:
            yield Violation(invariant, f"{len(numbers)} {noun} {what}: {_some(numbers)}")


def _accounted_for(ledger: Ledger, stored: Stored) -> Iterator[Violation]:
    """I3: what was acknowledged is joined, late or dangling, and what dangles has a decision that nobody stored."""
    by_id = {attempt.feedback_id: attempt.number for attempt in ledger.feedback}
    acknowledged = {number for number, outcome in outcomes(ledger.feedback).items() if outcome == "ok"}
    kept = {by_id[row.feedback_id] for row in stored.feedback if row.feedback_id in by_id}
    if missing := acknowledged - kept:
        yield Violation("I3", f"{len(missing)} feedback neither joined, late nor dangling: {_some(missing)}")
    decided = {row.decision.decision_id for row in stored.decisions}
    dangling = [row.decision_id for row in stored.feedback if row.dangles and row.decision_id in decided]
    if dangling:
        yield Violation("I3", f"{len(dangling)} feedback dangles beside its decision: {_some(dangling)}")
    if stored.open_windows:
        yield Violation("I3", f"{stored.open_windows} windows are open after their time")


def _distributions(ledger: Ledger, stored: Stored) -> Iterator[Violation]:
    """I4, as far as the rows alone tell it: drawn from what is logged, and 1/p as large as it must be."""
    # 1/p of the action that was drawn, less the number of actions, and how much that varies under the distribution.
    off, variances, largest = [], [], 0.0
    for row in stored.decisions:
        decision = row.decision
        if not math.isclose(sum(decision.probabilities), 1, abs_tol=ROUNDING) or not _is_drawn(decision):
            yield Violation("I4", f"decision {decision.subject_id} was not drawn from its distribution")
        if decision.fallback_reason is None and min(decision.probabilities) >= LEAST_PROBABILITY:
            count = len(decision.probabilities)
            off.append(1 / decision.probability - count)
            variances.append(float(np.sum(1 / np.asarray(decision.probabilities))) - count**2)
            largest = max(largest, 1 / min(decision.probabilities) - count, count - 1)
    # Bernstein's inequality: it holds where a few rows hold a rare draw more than is to be expected, too.
    logarithm = math.log(2 / FALSE_ALARMS)
    bound = math.sqrt(2 * logarithm * max(0.0, math.fsum(variances))) + logarithm * largest / 3
    if abs(math.fsum(off)) > bound + ROUNDING * len(off):
        yield Violation("I4", f"the mean of 1/p is off by {np.mean(off):.3f} over {len(off)} decisions")


def _is_drawn(decision: Decision) -> bool:
    """By the logged seed from the logged distribution: u in [0, 1) falls into the action's share."""
    uniform = (decision.seed >> 11) / 2**53
    totals = np.cumsum(decision.probabilities)
    drawn = min(int(np.searchsorted(totals, uniform, side="right")), len(totals) - 1)
    return decision.actions[drawn].id == decision.action_id


def _answered(ledger: Ledger) -> Iterator[Violation]:
    """I5's second half: an answer without a model version says why, and has a probability."""
    for attempt in ledger.decisions:
        if attempt.status != 200:
            continue
        if not 0 < attempt.probability <= 1:
            yield Violation("I5", f"decision {attempt.number} has the probability {attempt.probability}")
        if (attempt.model_version is None) != (attempt.fallback_reason is not None):
            yield Violation("I5", f"decision {attempt.number} has no version and no reason, or both")


def _versions(stored: Stored, clock_steps: bool) -> Iterator[Violation]:
    """I6 and I7: nothing is served before its row is ready, and a training run makes one version."""
    by_number: dict[int, Version] = {one.version: one for one in stored.versions}
    served: dict[int, int] = {}
    for row in stored.decisions:
        if (version := row.decision.model_version) is not None:
            served[version] = min(served.get(version, row.decision.decided_at), row.decision.decided_at)
    for number, first_at in served.items():
        known = by_number.get(number)
        is_ready = known is not None and known.status == "ready"
        if not is_ready or (known is not None and known.created_at > first_at and not clock_steps):
            yield Violation("I6", f"version {number} served before it was ready: {known}")
    runs = Counter(one.training_run_id for one in stored.versions)
    if doubled := [run for run, count in runs.items() if count > 1]:
        yield Violation("I7", f"more than one version of training run {_some(doubled)}")


def _rewards(ledger: Ledger, stored: Stored, window: float) -> Iterator[Violation]:
    """I8: every experience has the reward of the feedback that the gateway took within its window, or the default."""
    decided = {row.decision.decision_id: row.decision.decided_at for row in stored.decisions}
    told: defaultdict[str, list[StoredFeedback]] = defaultdict(list)
    for feedback in stored.feedback:
        told[feedback.decision_id].append(feedback)
    counted = Counter(one.decision_id for one in stored.experiences)
    missing = decided.keys() - counted.keys()
    if missing or any(count > 1 for count in counted.values()):
        yield Violation("I8", f"{len(missing)} decisions without an experience, or some with two: {_some(missing)}")
    sequences = [one.sequence for one in stored.experiences]
    if len(set(sequences)) != len(sequences):
        yield Violation("I8", "two experiences have one sequence")
    expected = {
        decision_id: _reward(told[decision_id], at + round(window * MICROSECONDS))
        for decision_id, at in decided.items()
    }
    yield from _wrong_rewards(stored.experiences, expected)


def _reward(told: Iterable[StoredFeedback], closes_at: int) -> float:
    """The first feedback that came in time; 0, the default, where none did."""
    in_time = sorted((one for one in told if one.received_at <= closes_at), key=lambda one: one.received_at)
    return float(in_time[0].value or 0.0) if in_time else 0.0


def _wrong_rewards(experiences: Iterable[Joined], expected: Mapping[str, float]) -> Iterator[Violation]:
    wrong = [one for one in experiences if one.reward != expected.get(one.decision_id)]
    if wrong:
        total = math.fsum(one.reward for one in experiences)
        due = math.fsum(expected.values())
        examples = [f"{one.decision_id} {one.reward:g} for {expected.get(one.decision_id)}" for one in wrong]
        yield Violation("I8", f"{len(wrong)} rewards are wrong, {total:.3f} in all for {due:.3f}: {_some(examples)}")


def check_every_decide_answered(attempts: Iterable[DecisionAttempt]) -> list[Violation]:
    """I5, where the gateway is not the victim: all are answered."""
    unanswered = Counter(attempt.status for attempt in attempts if attempt.status != 200)
    return [Violation("I5", f"decides that were not answered, by status: {dict(unanswered)}")] if unanswered else []


def check_offsets(seen: Iterable[Mapping[tuple[str, int], int]]) -> list[Violation]:
    """I14: what the joiner has committed never goes back."""
    highest: dict[tuple[str, int], int] = {}
    back = []
    for offsets in seen:
        for place, offset in offsets.items():
            if offset < highest.get(place, 0):
                back.append(f"{place[0]}/{place[1]} from {highest[place]} to {offset}")
            highest[place] = max(offset, highest.get(place, 0))
    return [Violation("I14", f"offsets went back: {_some(back)}")] if back else []


def check_text(texts: Mapping[str, str], secrets: Mapping[str, str]) -> list[Violation]:
    """I13: no log, by name, holds a secret, by what it is."""
    found = [f"{what} in {name}" for name, text in texts.items() for what, secret in secrets.items() if secret in text]
    return [Violation("I13", _some(found))] if found else []


def recovered_at(attempts: Iterable[AnyAttempt]) -> float | None:
    """When the last decide was answered that no model version made; None where all were made by one."""
    fallen = [
        one.answered_at
        for one in attempts
        if isinstance(one, DecisionAttempt) and (one.outcome != "ok" or one.model_version is None)
    ]
    return max(fallen, default=None)


def _some(examples: Iterable[object]) -> str:
    told = [str(one) for one in examples]
    return ", ".join(told[:EXAMPLES]) + (", …" if len(told) > EXAMPLES else "")
