"""A decision as the product gets it."""

from collections.abc import Sequence
from math import sqrt

import orjson

from shared.db.statistics import Z_95
from shared.domain import Decision, Doubles

# One a candidate; None where no model version decided, and for logits where it has learned no policy itself.
Numbers = list[float] | list[None]
Intervals = list[list[float]] | list[None]


def answer_of(decision: Decision, logged: bool = True) -> bytes:
    """The answer as JSON; a function of the decision alone, so that a repeated request gets the same bytes."""
    return orjson.dumps(answer_members(decision, logged))


def answer_members(decision: Decision, logged: bool = True) -> dict[str, object]:
    return {
        "decision_id": decision.decision_id,
        "action_id": decision.action_id,
        "probability": decision.probability,
        "model_version": None if decision.model_version is None else str(decision.model_version),
        "ranking": _ranking(decision),
        "modalities_used": decision.modalities_used,
        "modalities_missing": decision.modalities_missing,
        "fallback_reason": decision.fallback_reason,
        "modality_importance": _importance(decision),
        "logged": logged,
    }


def _importance(decision: Decision) -> dict[str, float] | None:
    """In the order of the modalities, which a log does not keep."""
    importance = decision.modality_importance
    return None if importance is None else {name: importance[name] for name in decision.modalities_used}


def _ranking(decision: Decision) -> list[dict[str, object]]:
    """Every candidate, the likeliest first; of equally likely ones the best first."""
    probabilities = decision.probabilities.tolist()
    rows = list(zip(decision.actions, probabilities, *_columns(decision), strict=True))
    # Without scores all stand at 0 here: the order is that of the candidates.
    rows.sort(key=lambda row: (-row[1], -(row[2] or 0.0)))
    return [
        {
            "id": action.id,
            "probability": probability,
            "expected_reward": expected,
            "interval": interval,
            "outcome_interval": outcome,
            "policy_logit": logit,
        }
        for action, probability, expected, interval, outcome, logit in rows
    ]


def _columns(decision: Decision) -> tuple[Numbers, Intervals, Intervals, Numbers]:
    """Expected rewards, their intervals, those of outcomes, and logits."""
    scores = decision.scores
    nothing = [None] * len(decision.actions)
    if scores is None:
        return nothing, nothing, nothing, nothing
    expected: list[float] = scores.expected_rewards.tolist()
    intervals = _intervals(expected, scores.variances), _intervals(expected, scores.outcome_variances)
    return expected, *intervals, nothing if scores.policy_logits is None else scores.policy_logits.tolist()


def _intervals(expected: Sequence[float], variances: Doubles) -> list[list[float]]:
    """Normal 95 % intervals around the expected rewards [A, 2], not cut at the reward's range."""
    halves = [Z_95 * sqrt(variance) if variance > 0 else 0.0 for variance in variances.tolist()]
    return [[middle - half, middle + half] for middle, half in zip(expected, halves, strict=True)]
