"""Model versions and what they go through, in words. Pure functions."""

from typing import Final

from services.dashboard import wording
from services.dashboard.answers import Range
from services.dashboard.lifecycle_answers import (
    Evaluation,
    EvaluationResult,
    Figures,
    ModelVersion,
    PolicyValue,
    Rollout,
    TrainingRun,
)

ESTIMATORS: Final = {
    "ips": "IPS: importance weighting",
    "snips": "SNIPS: self-normalised",
    "dm": "DM: direct method",
    "dr": "DR: doubly robust",
    "switch_dr": "Switch-DR",
    "replay": "Replay",
}
VERDICTS: Final = {
    "enough": "The rows tell enough to rely on the intervals.",
    "too_little": "Too little: neither values nor intervals can be relied on.",
    "unsupported": "No verdict: the log could not have drawn what this policy chooses.",
}
# What a person may do with a rollout, in which state of it.
VERBS: Final[dict[str, tuple[str, ...]]] = {
    "running": ("promote", "pause", "rollback"),
    "paused": ("promote", "resume", "rollback"),
    "inconclusive": ("promote", "resume", "rollback"),
    "promoted": ("rollback",),
}
VERB_NAMES: Final = {"promote": "Promote", "pause": "Pause", "resume": "Resume", "rollback": "Roll back"}


def gate(version: ModelVersion) -> str:
    """What the gate said of a version; nothing where it was never held against a champion."""
    if version.gate is None:
        return "" if version.status == "ready" else version.status
    finding = (
        wording.plain(version.gate)
        if version.difference is None
        else f"{wording.plain(version.gate)}, {version.difference:+.2f}"
    )
    return finding if version.status == "ready" else f"{version.status}: {finding}"


def run_kind(run: TrainingRun) -> str:
    return "first version" if run.kind == "initialise" else "fine-tune"


def run_outcome(run: TrainingRun) -> str:
    """One line about what a training run does or did."""
    if run.status == "queued":
        return "waits for the trainer"
    if run.status == "running":
        return f"{wording.count(run.steps)} steps" if run.steps else "starting"
    if run.model_version is not None:
        return f"{wording.version(run.model_version)} {'took over' if run.status == 'succeeded' else 'turned down'}"
    return run.detail or run.status


def run_detail(run: TrainingRun) -> str:
    """What it does or did, with all that is known of why."""
    outcome = run_outcome(run)
    return outcome if run.detail is None or run.detail == outcome else f"{outcome}: {run.detail}"


def run_reason(run: TrainingRun) -> str:
    """Why it was started."""
    return "the loop is new" if run.reason is None else wording.plain(run.reason)


def target(asked: str | dict[str, object]) -> str:
    """Whose value an evaluation asks for."""
    match asked:
        case {"model_version": name}:
            return f"version {name}"
        case {"constant": action_id}:
            return f"always {action_id}"
        case str(name):
            return f"the {name} policy"
        case _:
            return "a table of probabilities"


def evaluation_outcome(evaluation: Evaluation, reward_range: Range) -> str:
    """One line about what an evaluation does or found."""
    if evaluation.status == "queued":
        return "waits for the trainer"
    if evaluation.status == "running":
        return wording.percent(evaluation.progress)
    if evaluation.result is None:
        return evaluation.detail or evaluation.status
    if evaluation.result.preferred is None:
        return "no estimator gave a value"
    name, estimate = evaluation.result.preferred
    return f"{wording.reward(estimate.value, reward_range)} by {name}"


def window(evaluation: Evaluation) -> str:
    """Which decisions an evaluation is about."""
    if evaluation.since is None and evaluation.until is None:
        return "all decisions"
    parts = [
        f"{name} {moment:%Y-%m-%d %H:%M} UTC"
        for name, moment in (("since", evaluation.since), ("until", evaluation.until))
        if moment is not None
    ]
    return " ".join(parts)


def sample(result: EvaluationResult) -> str:
    """How much an evaluation rests on."""
    return (
        f"{wording.count(result.rows)} decisions of {wording.count(result.clusters)} subjects or episodes, worth "
        f"{result.effective_sample_size:,.0f} of the policy's own; {result.unsupported_share:.1%} unsupported, "
        f"{wording.count(result.without_propensity)} without a propensity, {wording.count(result.immature)} too young."
    )


def best_interval(estimate: PolicyValue) -> Range | None:
    """The interval that is told where there is room for one: the bootstrap's, or else the normal one."""
    return estimate.bootstrap or estimate.normal


def difference(finding: Figures, reward_range: Range) -> str:
    """What a rollout found of the version against the champion."""
    value = _number(finding, "difference")
    if value is None:
        return wording.NOTHING
    low, high = (_number(finding, f"difference_{edge}") for edge in ("lower", "upper"))
    told = (
        ("-∞" if low is None else wording.reward(low, reward_range)),
        ("∞" if high is None else wording.reward(high, reward_range)),
    )
    return f"{wording.signed(value)} ({told[0]} to {told[1]})"


def evidence(finding: Figures, reward_range: Range) -> str:
    """A step of a rollout in figures."""
    if not finding:
        return wording.NOTHING
    decisions, rest = (_number(finding, name) or 0 for name in ("decisions", "champion_decisions"))
    means = [wording.reward(_number(finding, name), reward_range) for name in ("mean_reward", "champion_mean_reward")]
    return (
        f"{wording.count(round(decisions))} decisions earned {means[0]}, the champion's {wording.count(round(rest))} "
        f"{means[1]}: {difference(finding, reward_range)}"
    )


def verbs(rollout: Rollout, champion: str | None) -> tuple[str, ...]:
    """What a person may do with a rollout now; one that was promoted can be rolled back while its version serves."""
    if rollout.status == "promoted" and rollout.model_version != champion:
        return ()
    return VERBS.get(rollout.status, ())


def steps(rollout: Rollout) -> str:
    """Its steps, with the one that it stands at."""
    if not rollout.steps:
        return "at once"
    return " → ".join(
        f"[{share} %]" if rollout.is_open and index == rollout.step else f"{share} %"
        for index, share in enumerate(rollout.steps)
    )


def _number(finding: Figures, name: str) -> float | None:
    value = finding.get(name)
    return float(value) if isinstance(value, int | float) else None
