"""Model versions and what they go through as rows of tables, and the tables' columns. Pure functions."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from services.dashboard import charts, lifecycle_wording, wording
from services.dashboard.answers import Loop, Range, VersionReward
from services.dashboard.elements import Column, Row
from services.dashboard.lifecycle_answers import (
    Evaluation,
    EvaluationResult,
    ModelVersion,
    ModelVersionDetail,
    Rollout,
    RolloutDetail,
    TrainingRun,
)
from services.dashboard.paths import loop_path
from services.dashboard.tables import interval_fields

GATE_HINT: Final = (
    "How it did beside the champion on experiences that neither had learned from; "
    "the figure is the difference in reward, in units of the reward's range."
)
VERSIONS: Final = (
    Column("version", "Version", "linked_version", mark="aliases"),
    Column("mean", "Reward", hint="Mean reward of the decisions that this version made."),
    Column("interval", "95 % interval", "interval", hint="Where the mean of many more such decisions would lie."),
    Column("experiences", "Experiences", wide=True),
    Column("created_at", "Created", "time", wide=True),
    Column("parent", "Parent", wide=True, hint="The version whose weights this one started from."),
    Column("gate", "Gate", wide=True, hint=GATE_HINT),
)
LINEAGE: Final = (
    Column("version", "Version", "linked_version", mark="aliases"),
    Column("parent", "Parent", hint="The version whose weights this one started from."),
    Column("status", "Status", "status"),
    Column("window", "Experiences", wide=True, hint="Which ones it learned from, by their sequence."),
    Column("created_at", "Created", "time", wide=True),
    Column("gate", "Gate", wide=True, hint=GATE_HINT),
)
DIFFERENCES: Final = (
    Column("what", "What"),
    Column("other", "Before"),
    Column("this", "Here"),
)
RUNS: Final = (
    Column("requested_at", "Requested", "linked_time"),
    Column("kind", "Kind", wide=True),
    Column("status", "Status", "status"),
    Column("progress", "Progress", "bar"),
    Column("loss", "Loss", wide=True),
    Column("reason", "Reason", wide=True),
    Column("outcome", "Outcome"),
)
ROLLOUTS: Final = (
    Column("started_at", "Started", "linked_time"),
    Column("version", "Version", "version"),
    Column("status", "Status", "status"),
    Column("steps", "Steps", wide=True, hint="Percent of the decisions, step by step; [ ]: where it stands."),
    Column("difference", "Against the champion", wide=True, hint="Difference in mean reward, with its bounds."),
)
EVENTS: Final = (
    Column("at", "Time", "time"),
    Column("kind", "Event"),
    Column("share", "Step"),
    Column("evidence", "Evidence"),
    Column("by", "By", wide=True),
)
ARMS: Final = (
    Column("what", "Figure"),
    Column("version", "Version"),
    Column("champion", "Champion"),
)
EVALUATIONS: Final = (
    Column("requested_at", "Requested", "linked_time"),
    Column("target", "Policy"),
    Column("status", "Status", "status", wide=True),
    Column("outcome", "Value"),
    Column("interval", "95 % interval", "interval"),
)
ESTIMATES: Final = (
    Column("estimator", "Estimator"),
    Column("value", "Value"),
    Column("interval", "95 % interval", "interval", hint="Bootstrap, over subjects or episodes."),
    Column("normal", "Normal", wide=True, hint="By the normal distribution."),
    Column("bernstein", "Empirical Bernstein", wide=True, hint="Holds for every sample size; the widest."),
)
SKIPPED: Final = (Column("line", "Line"), Column("reason", "Why it was not taken"))

# Figures of a rollout that both arms have.
COUNTED: Final = {
    "decisions": "Matured decisions",
    "mean_reward": "Mean reward",
    "rescued": "Decided by another version in its place",
    "slow": "Slow decisions",
    "collapsed": "Collapsed distributions",
}


def version_rows(loop: Loop, versions: Sequence[ModelVersion], earned: Sequence[VersionReward]) -> list[Row]:
    """Newest first, with what each earned; last, what was earned while no version decided."""
    reward_of = {reward.model_version: reward for reward in earned}
    rows: list[Row] = [
        {
            **_version_row(loop, version.version, reward_of.get(version.version)),
            "aliases": ", ".join(version.aliases),
            "created_at": version.created_at.isoformat(),
            "parent": "" if version.parent is None else wording.version(version.parent),
            "gate": lifecycle_wording.gate(version),
        }
        for version in versions
    ]
    if None in reward_of:
        unserved = _version_row(loop, None, reward_of[None])
        rows.append(unserved | {"aliases": "", "created_at": "", "parent": "", "gate": "fallback answers"})
    return rows


def lineage_rows(loop: Loop, versions: Sequence[ModelVersion]) -> list[Row]:
    """Newest first."""
    return [
        {
            "key": version.version,
            "version": wording.version(version.version),
            "href": loop_path(loop.loop_id, "models", version.version),
            "colour": charts.version_colour(version.version),
            "aliases": ", ".join(version.aliases),
            "parent": "" if version.parent is None else wording.version(version.parent),
            "status": version.status,
            "window": data_window(version),
            "created_at": version.created_at.isoformat(),
            "gate": lifecycle_wording.gate(version),
        }
        for version in versions
    ]


def difference_rows(this: ModelVersionDetail, other: ModelVersionDetail | None, values: Mapping[str, str]) -> list[Row]:
    """What two versions differ in: settings, metrics, experiences, sizes, and what evaluations found (`values` by
    version). Without another one, all that it has."""
    ours, theirs = _told(this, values), {} if other is None else _told(other, values)
    return [
        {"key": name, "what": name, "other": theirs.get(name, ""), "this": ours.get(name, "")}
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name, wording.NOTHING) != theirs.get(name, wording.NOTHING)
    ]


def run_rows(loop_id: str, runs: Sequence[TrainingRun]) -> list[Row]:
    return [
        {
            "key": run.training_run_id,
            "requested_at": run.requested_at.isoformat(),
            "href": loop_path(loop_id, "training-runs", run.training_run_id),
            "kind": lifecycle_wording.run_kind(run),
            "status": run.status,
            "progress": f"{100 * run.progress:.0f} %",
            "share": f"{100 * run.progress:.1f}%",
            "loss": wording.NOTHING if run.loss is None else f"{run.loss:.4f}",
            "reason": lifecycle_wording.run_reason(run),
            "outcome": lifecycle_wording.run_outcome(run),
        }
        for run in runs
    ]


def rollout_rows(loop: Loop, rollouts: Sequence[Rollout]) -> list[Row]:
    return [
        {
            "key": rollout.rollout_id,
            "started_at": rollout.started_at.isoformat(),
            "href": loop_path(loop.loop_id, "rollouts", rollout.rollout_id),
            "version": wording.version(rollout.model_version),
            "colour": charts.version_colour(rollout.model_version),
            "status": wording.plain(rollout.status),
            "steps": lifecycle_wording.steps(rollout),
            "difference": lifecycle_wording.difference(rollout.figures, loop.reward.range),
        }
        for rollout in rollouts
    ]


def event_rows(rollout: RolloutDetail, reward_range: Range) -> list[Row]:
    """Newest first."""
    return [
        {
            "key": event.event_id,
            "at": event.at.isoformat(),
            "kind": wording.plain(event.kind) + ("" if event.detail is None else f": {event.detail}"),
            "share": f"{rollout.steps[event.step]} %" if event.step < len(rollout.steps) else wording.NOTHING,
            "evidence": lifecycle_wording.evidence(event.figures, reward_range),
            "by": event.caused_by,
        }
        for event in reversed(rollout.events)
    ]


def arm_rows(rollout: Rollout, reward_range: Range) -> list[Row]:
    """What was found of the version and of the champion in the same time; nothing before the first look."""
    found = rollout.figures
    return [
        {
            "key": name,
            "what": label,
            "version": _figure(found.get(name), name, reward_range),
            "champion": _figure(found.get(f"champion_{name}"), name, reward_range),
        }
        for name, label in COUNTED.items()
        if name in found
    ]


def evaluation_rows(loop: Loop, evaluations: Sequence[Evaluation]) -> list[Row]:
    rows: list[Row] = []
    for evaluation in evaluations:
        best = None if evaluation.result is None else evaluation.result.preferred
        interval = None if best is None else lifecycle_wording.best_interval(best[1])
        row: Row = {
            "key": evaluation.evaluation_id,
            "requested_at": evaluation.requested_at.isoformat(),
            "href": loop_path(loop.loop_id, "evaluations", evaluation.evaluation_id),
            "target": lifecycle_wording.target(evaluation.target),
            "status": evaluation.status,
            "outcome": lifecycle_wording.evaluation_outcome(evaluation, loop.reward.range),
            "colour": "var(--accent)",
        }
        rows.append(row | interval_fields(interval, loop.reward.range))
    return rows


def estimate_rows(result: EvaluationResult, reward_range: Range) -> list[Row]:
    """By estimator; first, what was earned as it was decided."""
    named = {"as it was decided": result.logged} | result.estimates
    return [
        {
            "key": name,
            "estimator": lifecycle_wording.ESTIMATORS.get(name, name),
            "value": wording.reward(estimate.value, reward_range),
            "normal": wording.interval(estimate.normal, reward_range),
            "bernstein": wording.interval(estimate.empirical_bernstein, reward_range),
            "colour": "var(--version-none)" if estimate is result.logged else "var(--accent)",
            **interval_fields(lifecycle_wording.best_interval(estimate), reward_range),
        }
        for name, estimate in named.items()
    ]


def data_window(version: ModelVersion) -> str:
    """The sequences of the experiences that a version learned from."""
    first = version.metrics.get("first_sequence")
    if not version.covers_sequence:
        return "none"
    start = round(first) if isinstance(first, float) else 1
    return f"{wording.count(start)} to {wording.count(version.covers_sequence)}"


def _version_row(loop: Loop, name: str | None, earned: VersionReward | None) -> Row:
    return {
        "key": name or "",
        "href": "" if name is None else loop_path(loop.loop_id, "models", name),
        "version": wording.version(name),
        "colour": charts.version_colour(name),
        "mean": wording.reward(None if earned is None else earned.mean, loop.reward.range),
        "experiences": wording.count(0 if earned is None else earned.experiences),
        **interval_fields(None if earned is None else earned.interval, loop.reward.range),
    }


def _told(version: ModelVersionDetail, values: Mapping[str, str]) -> dict[str, str]:
    """All that is told of a version, by name."""
    sizes = {f"weights of {name}": part.sha256[:12] for name, part in version.parts.items()}
    return (
        {"experiences": data_window(version), "evaluation": values.get(version.version, wording.NOTHING)}
        | {f"metric {name}": _told_value(value) for name, value in version.metrics.items() if name != "first_sequence"}
        | dict(_flat("", version.settings))
        | {"code version": version.code_version}
        | sizes
    )


def _flat(path: str, value: object) -> list[tuple[str, str]]:
    """Settings by their dotted paths."""
    if isinstance(value, dict) and value:
        return [pair for name, inner in value.items() for pair in _flat(f"{path}.{name}" if path else str(name), inner)]
    return [(path, _told_value(value))]


def _told_value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_told_item, value)) or wording.NOTHING
    return wording.NOTHING if value is None else wording.cell(value)


def _told_item(value: object) -> str:
    """An action by its id, with its features where it has any."""
    match value:
        case {"id": name, "features": None}:
            return str(name)
        case dict():
            return json.dumps(value)
        case _:
            return _told_value(value)


def _figure(value: float | str | None, name: str, reward_range: Range) -> str:
    if not isinstance(value, int | float):
        return wording.NOTHING
    return wording.reward(value, reward_range) if name == "mean_reward" else wording.count(round(value))
