"""Answers of the gateway as rows of tables, and the tables' columns. Pure functions.

Times are rows' ISO-8601 texts: the browser tells them in its own time zone.
"""

from collections.abc import Sequence
from typing import Final

from services.dashboard import charts, wording
from services.dashboard.answers import (
    DeadLetter,
    Decision,
    DecisionSummary,
    Loop,
    Range,
    Statistics,
    StoredFeedback,
)
from services.dashboard.distributions import ActionShare
from services.dashboard.elements import Column, Row
from services.dashboard.paths import decision_path
from shared.loop_report import Fairness

RANKING_SHOWN: Final = 50

DECISIONS: Final = (
    Column("decided_at", "Time", "time"),
    Column("action_id", "Action", "link"),
    Column("probability", "Propensity", hint="The probability with which this action was drawn at that moment."),
    Column("version", "Version", "version", wide=True),
    Column("reward", "Reward"),
    Column("fallback", "Fallback", wide=True, hint="Why no model version chose; the propensity is right all the same."),
)
MODALITIES: Final = (
    Column("modality", "Modality"),
    Column("importance", "Importance", "bar", hint="Its mean share in what moves the estimate of the chosen action."),
    Column("loss_rise", "Loss without it", hint="How much the loss of the estimate rises when it is masked."),
    Column("correlation", "Actions follow it", wide=True, hint="Correlation of the chosen action with it, -1 to 1."),
    Column("missing", "Missing", "bar", share="missing_share", hint="Share of the experiences that came without it."),
)
ACTIONS: Final = (
    Column("action_id", "Action"),
    Column("share", "Share", "bar", share="width", hint="Of the decisions: how often it was drawn."),
    Column("decisions", "Decisions", wide=True),
    Column("probability", "Mean propensity", wide=True, hint="How likely it was, when it was drawn."),
    Column("reward", "Mean reward", hint="Of its decisions whose window has closed."),
)
FOLLOWS: Final = (
    Column("action_id", "Action"),
    Column("correlation", "Follows the state", hint="Correlation of this choice with the state, -1 to 1."),
)
SEGMENTS: Final = (
    Column("segment", "Segment"),
    Column("decisions", "Decisions"),
    Column("mean", "Reward", hint="Mean reward of the segment's decisions."),
    Column("interval", "95 % interval", "interval"),
)
PARITY: Final = (
    Column("action_id", "Action"),
    Column("rates", "Selection rates", hint="How often each segment was given the action."),
    Column("difference", "Difference", hint="Demographic parity difference: greatest rate minus least."),
)
DEAD_LETTERS: Final = (
    Column("dead_at", "Put aside", "time"),
    Column("topic", "Topic", wide=True),
    Column("reason", "Reason"),
    Column("replayed", "Replayed", wide=True),
)
WEIGHED: Final = (
    Column("modality", "Modality"),
    Column("importance", "Importance", "bar", hint="Its share in the expected reward of the chosen action."),
)
RANKING: Final = (
    Column("action_id", "Action", mark="chosen"),
    Column("probability", "Probability", "bar"),
    Column("expected_reward", "Expected", hint="The reward that the model expects of the action."),
    Column("interval", "95 % interval", "interval", wide=True, hint="How sure the model is of the expected reward."),
)
FEEDBACK: Final = (
    Column("received_at", "Received", "time"),
    Column("metric", "Metric"),
    Column("value", "Value"),
    Column("note", "Counted", hint="Late feedback is kept and left out of the reward."),
)


def decision_rows(loop: Loop, decisions: Sequence[DecisionSummary]) -> list[Row]:
    return [
        {
            "key": decision.decision_id,
            "decided_at": decision.decided_at.isoformat(),
            "action_id": decision.action_id,
            "href": decision_path(loop.loop_id, decision.decision_id),
            "probability": wording.probability(decision.probability),
            "version": wording.version(decision.model_version),
            "colour": charts.version_colour(decision.model_version),
            "reward": wording.outcome(decision, loop.reward.range),
            "fallback": "" if decision.fallback_reason is None else wording.plain(decision.fallback_reason),
        }
        for decision in decisions
    ]


def modality_rows(statistics: Statistics) -> list[Row]:
    """In the loop's order; nothing before the first report."""
    importance, correlation = statistics.modality_importance, statistics.modality_correlation
    if importance is None:
        return []
    follows = {} if correlation is None else correlation.modalities
    return [
        {
            "key": name,
            "modality": name,
            "importance": wording.percent(figures.share),
            "share": f"{100 * (figures.share or 0):.1f}%",
            "loss_rise": wording.signed(figures.loss_rise),
            "correlation": wording.signed(follows[name].correlation if name in follows else None),
            "missing": wording.percent(figures.missing_rate),
            "missing_share": f"{100 * figures.missing_rate:.1f}%",
        }
        for name, figures in importance.modalities.items()
    ]


def action_rows(shares: Sequence[ActionShare], reward_range: Range) -> list[Row]:
    return [
        {
            "key": one.action_id,
            "action_id": one.action_id,
            "share": wording.percent(one.share),
            "width": f"{100 * one.share:.1f}%",
            "decisions": wording.count(one.decisions),
            "probability": wording.probability(one.mean_probability) if one.decisions else wording.NOTHING,
            "reward": wording.reward(one.mean_reward, reward_range),
        }
        for one in shares
    ]


def follows_rows(statistics: Statistics) -> list[Row]:
    """By action, the one that follows the state most closely first."""
    correlation = statistics.modality_correlation
    if correlation is None:
        return []
    found = sorted(correlation.state.by_action.items(), key=lambda pair: -(pair[1] or -1))
    return [{"key": name, "action_id": name, "correlation": wording.signed(value)} for name, value in found]


def segment_rows(fairness: Fairness, reward_range: Range) -> list[Row]:
    return [
        {
            "key": name,
            "segment": name,
            "decisions": wording.count(of.decisions),
            "mean": wording.reward(of.reward.value, reward_range),
            "colour": "var(--accent)",
            **interval_fields(of.reward.interval, reward_range),
        }
        for name, of in fairness.segments.items()
    ]


def parity_rows(fairness: Fairness) -> list[Row]:
    """The actions that differ most between the segments first; nothing below two segments."""
    differences = fairness.demographic_parity_difference or {}
    return [
        {
            "key": action_id,
            "action_id": action_id,
            "rates": " · ".join(
                f"{segment} {of.selection_rates[action_id].value:.2f}"
                for segment, of in fairness.segments.items()
                if action_id in of.selection_rates
            ),
            "difference": f"{difference:.2f}",
        }
        for action_id, difference in sorted(differences.items(), key=lambda pair: -pair[1])
    ]


def letter_rows(letters: Sequence[DeadLetter]) -> list[Row]:
    return [
        {
            "key": letter.dead_letter_id,
            "dead_at": letter.dead_at.isoformat(),
            "topic": letter.topic,
            "reason": letter.reason,
            "replayed": "no" if letter.replayed_at is None else "yes",
        }
        for letter in letters
    ]


def weighed_rows(decision: Decision) -> list[Row]:
    """What one choice rested on; nothing where the product did not ask to have it explained."""
    shares = sorted((decision.modality_importance or {}).items(), key=lambda pair: -pair[1])
    return [
        {
            "key": name,
            "modality": name,
            "importance": wording.percent(share),
            "share": f"{100 * share:.1f}%",
        }
        for name, share in shares
    ]


def ranking_rows(decision: Decision, reward_range: Range) -> list[Row]:
    """The likeliest actions, the chosen one among them even where it is not."""
    ranked = sorted(decision.ranking, key=lambda action: -action.probability)
    shown = [action for index, action in enumerate(ranked) if index < RANKING_SHOWN or action.id == decision.action_id]
    return [
        {
            "key": action.id,
            "action_id": action.id,
            "chosen": "chosen" if action.id == decision.action_id else "",
            "probability": wording.probability(action.probability),
            "share": f"{100 * action.probability:.2f}%",
            "expected_reward": wording.reward(action.expected_reward, reward_range),
            "colour": charts.version_colour(decision.model_version),
            **interval_fields(action.interval, reward_range),
        }
        for action in shown
    ]


def feedback_rows(feedback: Sequence[StoredFeedback]) -> list[Row]:
    return [
        {
            "key": event.feedback_id,
            "received_at": event.received_at.isoformat(),
            "metric": event.metric,
            "value": event.value if isinstance(event.value, str) else f"{event.value:g}",
            "note": "late" if event.late else "yes",
        }
        for event in feedback
    ]


def interval_fields(interval: Range | None, reward_range: Range) -> Row:
    if interval is None:
        return {"interval": wording.NOTHING, "left": "", "spread": ""}
    left, width = charts.place_on_bar(*interval, reward_range)
    return {"interval": wording.interval(interval, reward_range), "left": f"{left}%", "spread": f"{width}%"}
