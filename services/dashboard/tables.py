"""Answers of the gateway as rows of tables, and the tables' columns. Pure functions.

Times are rows' ISO-8601 texts: the browser tells them in its own time zone.
"""

from collections.abc import Sequence
from typing import Final

from services.dashboard import charts, wording
from services.dashboard.answers import (
    Decision,
    DecisionSummary,
    Loop,
    ModelVersion,
    Range,
    Statistics,
    StoredFeedback,
    TrainingRun,
    VersionReward,
)
from services.dashboard.elements import Column, Row
from services.dashboard.paths import decision_path

RANKING_SHOWN: Final = 50

GATE_HINT: Final = (
    "How it did beside the champion on experiences that neither had learned from; "
    "the figure is the difference in reward, in units of the reward's range."
)
DECISIONS: Final = (
    Column("decided_at", "Time", "time"),
    Column("action_id", "Action", "link"),
    Column("probability", "Propensity", hint="The probability with which this action was drawn at that moment."),
    Column("version", "Version", "version", wide=True),
    Column("reward", "Reward"),
    Column("fallback", "Fallback", wide=True, hint="Why no model version chose; the propensity is right all the same."),
)
VERSIONS: Final = (
    Column("version", "Version", "version", mark="aliases"),
    Column("mean", "Reward", hint="Mean reward of the decisions that this version made."),
    Column("interval", "95 % interval", "interval", hint="Where the mean of many more such decisions would lie."),
    Column("experiences", "Experiences", wide=True),
    Column("created_at", "Created", "time", wide=True),
    Column("parent", "Parent", wide=True, hint="The version whose weights this one started from."),
    Column("gate", "Gate", wide=True, hint=GATE_HINT),
)
MODALITIES: Final = (
    Column("modality", "Modality"),
    Column("importance", "Importance", "bar", hint="Its mean share in what moves the estimate of the chosen action."),
    Column("loss_rise", "Loss without it", hint="How much the loss of the estimate rises when it is masked."),
    Column("correlation", "Actions follow it", wide=True, hint="Correlation of the chosen action with it, -1 to 1."),
    Column("missing", "Missing", wide=True),
)
RUNS: Final = (
    Column("requested_at", "Requested", "time", wide=True),
    Column("kind", "Kind", wide=True),
    Column("status", "Status", "status"),
    Column("progress", "Progress", "bar"),
    Column("loss", "Loss", wide=True),
    Column("outcome", "Outcome"),
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


def version_rows(loop: Loop, versions: Sequence[ModelVersion], earned: Sequence[VersionReward]) -> list[Row]:
    """Newest first, with what each earned; last, what was earned while no version decided."""
    reward_of = {reward.model_version: reward for reward in earned}
    rows: list[Row] = [
        {
            **_version_row(version.version, reward_of.get(version.version), loop.reward.range),
            "aliases": ", ".join(version.aliases),
            "created_at": version.created_at.isoformat(),
            "parent": "" if version.parent is None else wording.version(version.parent),
            "gate": wording.gate(version),
        }
        for version in versions
    ]
    if None in reward_of:
        unserved = _version_row(None, reward_of[None], loop.reward.range)
        rows.append(unserved | {"aliases": "", "created_at": "", "parent": "", "gate": "fallback answers"})
    return rows


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
            "importance": wording.NOTHING if figures.share is None else f"{100 * figures.share:.0f} %",
            "share": f"{100 * (figures.share or 0):.1f}%",
            "loss_rise": wording.signed(figures.loss_rise),
            "correlation": wording.signed(follows[name].correlation if name in follows else None),
            "missing": f"{100 * figures.missing_rate:.0f} %",
        }
        for name, figures in importance.modalities.items()
    ]


def run_rows(runs: Sequence[TrainingRun]) -> list[Row]:
    return [
        {
            "key": run.training_run_id,
            "requested_at": run.requested_at.isoformat(),
            "kind": wording.run_kind(run),
            "status": run.status,
            "progress": f"{100 * run.progress:.0f} %",
            "share": f"{100 * run.progress:.1f}%",
            "loss": wording.NOTHING if run.loss is None else f"{run.loss:.4f}",
            "outcome": wording.run_outcome(run),
        }
        for run in runs
    ]


def ranking_rows(loop: Loop, decision: Decision) -> list[Row]:
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
            "expected_reward": wording.reward(action.expected_reward, loop.reward.range),
            "colour": charts.version_colour(decision.model_version),
            **_interval_fields(action.interval, loop.reward.range),
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


def _version_row(name: str | None, earned: VersionReward | None, reward_range: Range) -> Row:
    return {
        "key": name or "",
        "version": wording.version(name),
        "colour": charts.version_colour(name),
        "mean": wording.reward(None if earned is None else earned.mean, reward_range),
        "experiences": wording.count(0 if earned is None else earned.experiences),
        **_interval_fields(None if earned is None else earned.interval, reward_range),
    }


def _interval_fields(interval: Range | None, reward_range: Range) -> Row:
    if interval is None:
        return {"interval": wording.NOTHING, "left": "", "spread": ""}
    left, width = charts.place_on_bar(*interval, reward_range)
    return {"interval": wording.interval(interval, reward_range), "left": f"{left}%", "spread": f"{width}%"}
