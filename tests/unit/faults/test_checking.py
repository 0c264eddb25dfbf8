"""The checker sees every way in which what is stored can differ from what was acknowledged."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shared.domain import Action, Decision
from tests.faults.checking import check_offsets, check_tenant, check_text
from tests.faults.ledger import DecisionAttempt, FeedbackAttempt, Ledger, Outcome, outcomes, percentile
from tests.faults.stored import Joined, Stored, StoredDecision, StoredFeedback, Version

WINDOW = 8.0
VISITS = 4
SECOND = 1_000_000


def ledger(outcome: Outcome = "ok") -> Ledger:
    status = {"ok": 200, "unknown": -1, "failed": 503, "unlogged": 200}[outcome]
    return Ledger(
        [
            DecisionAttempt(
                "t", number, 0.0, 0.0, 0.1, outcome, status, False, f"d{number}", False, "a", 0.5, "1", None
            )
            for number in range(1, VISITS + 1)
        ],
        [
            FeedbackAttempt("t", number, 0.0, 0.0, 0.1, outcome, status, False, f"f{number}", f"d{number}", 0.25)
            for number in range(1, VISITS + 1)
        ],
    )


def stored() -> Stored:
    numbers = range(1, VISITS + 1)
    return Stored(
        decisions=[StoredDecision(decision(number), None) for number in numbers],
        feedback=[StoredFeedback(f"f{number}", f"d{number}", 0.25, 2 * SECOND, False) for number in numbers],
        experiences=[Joined(number, f"d{number}", 0.25, "feedback") for number in numbers],
        versions=[Version(1, "ready", 1, "run", "00")],
        audited=1,
    )


def decision(number: int) -> Decision:
    return Decision(
        tenant="t",
        loop_id="l",
        decision_id=f"d{number}",
        decided_at=SECOND,
        context={},
        actions=[Action("a", None), Action("b", None)],
        action_id="a",
        probability=0.5,
        probabilities=np.array([0.5, 0.5]),
        seed=1,
        settings_revision=1,
        request_sha256=bytes(32),
        model_version=1,
        subject_id=str(number),
    )


def broken(sent: Ledger, found: Stored) -> set[str]:
    return {violation.invariant for violation in check_tenant(sent, found, WINDOW)}


def test_what_is_as_it_was_acknowledged_passes() -> None:
    assert broken(ledger(), stored()) == set()


def test_unknown_events_may_be_there_or_not() -> None:
    nothing = Stored([], [], [], [], 1)
    assert broken(ledger("unknown"), stored()) == broken(ledger("unknown"), nothing) == set()


def first_decision(found: Stored, changed: Decision) -> Stored:
    return replace(found, decisions=[StoredDecision(changed, None), *found.decisions[1:]])


BROKEN: dict[str, tuple[str, Callable[[Stored], Stored]]] = {
    "feedback lost": ("I1", lambda found: replace(found, feedback=found.feedback[1:])),
    "feedback twice": ("I1", lambda found: replace(found, feedback=[*found.feedback, found.feedback[0]])),
    "feedback nobody sent": (
        "I1",
        lambda found: replace(found, feedback=[*found.feedback, replace(found.feedback[0], feedback_id="f1-again")]),
    ),
    "feedback changed": (
        "I1",
        lambda found: replace(found, feedback=[replace(found.feedback[0], value=1.0), *found.feedback[1:]]),
    ),
    "decision lost": ("I2", lambda found: replace(found, decisions=found.decisions[1:])),
    "decision twice": ("I2", lambda found: replace(found, decisions=[*found.decisions, found.decisions[0]])),
    "decision answered otherwise": ("I2", lambda found: first_decision(found, replace(decision(1), action_id="b"))),
    "feedback dangles beside its decision": (
        "I3",
        lambda found: replace(found, feedback=[replace(found.feedback[0], dangles=True), *found.feedback[1:]]),
    ),
    "window open": (
        "I3",
        lambda found: replace(found, decisions=[StoredDecision(decision(1), 9), *found.decisions[1:]]),
    ),
    "not drawn from its distribution": (
        "I4",
        lambda found: first_decision(found, replace(decision(1), seed=2**64 - 1)),
    ),
    "version not ready": ("I6", lambda found: replace(found, versions=[replace(found.versions[0], status="rejected")])),
    "version from later": (
        "I6",
        lambda found: replace(found, versions=[replace(found.versions[0], created_at=2 * SECOND)]),
    ),
    "two versions of a run": (
        "I7",
        lambda found: replace(found, versions=[*found.versions, replace(found.versions[0], version=2)]),
    ),
    "reward wrong": (
        "I8",
        lambda found: replace(found, experiences=[replace(found.experiences[0], reward=0.5), *found.experiences[1:]]),
    ),
    "in time and not counted": (
        "I8",
        lambda found: replace(found, experiences=[replace(found.experiences[0], reward=0.0), *found.experiences[1:]]),
    ),
    "no experience": ("I8", lambda found: replace(found, experiences=found.experiences[1:])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_seen(name: str) -> None:
    invariant, break_it = BROKEN[name]
    assert invariant in broken(ledger(), break_it(stored()))


def test_what_was_refused_must_not_be_there() -> None:
    assert {"I1", "I2"} <= broken(ledger("failed"), stored())
    assert "I2" in broken(ledger("unlogged"), stored())


def test_the_mean_of_the_inverse_probability_is_the_number_of_actions() -> None:
    found = stored()
    rows = [StoredDecision(replace(decision(1), probability=p), None) for p in [0.5, 0.9] * 200]
    assert "I4" in broken(ledger(), replace(found, decisions=rows))


def test_a_few_rare_draws_among_few_decisions_are_chance() -> None:
    """Three of 37 where one in a hundred is to be expected: that happens to one log in 160."""
    common = replace(decision(1), probabilities=np.array([0.99, 0.01]), probability=0.99)
    rare = replace(common, action_id="b", probability=0.01, seed=2**64 - 1)
    rows = [StoredDecision(one, None) for one in [common] * 34 + [rare] * 3]
    assert "I4" not in broken(ledger(), replace(stored(), decisions=rows))
    assert "I4" in broken(ledger(), replace(stored(), decisions=rows * 10))


def test_late_feedback_counts_for_nothing() -> None:
    found = stored()
    late = replace(found.feedback[0], received_at=SECOND + round(WINDOW * SECOND) + 1, late=True)
    found = replace(found, feedback=[late, *found.feedback[1:]])
    assert broken(ledger(), found) == {"I8"}
    closed = replace(found.experiences[0], reward=0.0, closed_by="timeout")
    assert broken(ledger(), replace(found, experiences=[closed, *found.experiences[1:]])) == set()


def test_an_answer_by_fallback_says_so() -> None:
    sent = ledger()
    sent.decisions[0].fallback_reason = "model_unavailable"
    assert "I5" in broken(sent, stored())


def test_offsets_that_go_back_are_seen() -> None:
    place = ("topic", 0)
    assert check_offsets([{place: 1}, {place: 3}]) == []
    assert [one.invariant for one in check_offsets([{place: 3}, {place: 1}])] == ["I14"]


def test_a_secret_in_a_log_is_seen() -> None:
    assert check_text({"a.log": "nothing"}, {"a key": "secret"}) == []
    assert [one.text for one in check_text({"a.log": "the secret"}, {"a key": "secret"})] == ["a key in a.log"]


def test_the_best_answer_of_an_events_attempts_counts() -> None:
    sent = Ledger([*ledger("failed").decisions, *ledger("unknown").decisions[:1], *ledger("ok").decisions[:2]])
    assert outcomes(sent.decisions) == {1: "ok", 2: "ok", 3: "failed", 4: "failed"}
    assert sent.acknowledged == 2


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([2.0], 0.99)) == (50.0, 99.0, 2.0)
