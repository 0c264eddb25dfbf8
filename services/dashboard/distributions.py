"""How often, how likely, how alike: bars and lines of everything but the reward curve. Pure functions.

Colours are names of the style sheet's variables, as in `charts`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from services.dashboard.answers import CorrelationPoint, DecisionSummary
from services.dashboard.charts import VERSION_COLOURS, Options, axis, canvas, named, tooltip
from services.dashboard.lifecycle_answers import CurvePoint
from shared.loop_report import Fairness

BINS: Final = 10
STRETCHES: Final = 20


@dataclass(frozen=True, slots=True)
class ActionShare:
    """An action among the newest decisions: how often it was drawn, how likely that was, and what it earned."""

    action_id: str
    decisions: int
    share: float
    mean_probability: float
    mean_reward: float | None


def action_shares(decisions: Sequence[DecisionSummary], listed: Sequence[str]) -> list[ActionShare]:
    """The most frequent first; listed actions that were never drawn come last."""
    drawn: dict[str, list[DecisionSummary]] = {action_id: [] for action_id in listed}
    for decision in decisions:
        drawn.setdefault(decision.action_id, []).append(decision)
    shares = [_share(action_id, of, len(decisions)) for action_id, of in drawn.items()]
    return sorted(shares, key=lambda one: -one.decisions)


def histogram(probabilities: Sequence[float]) -> list[int]:
    """How many lie in each tenth from 0 to 1; 1 counts to the last one."""
    counts = [0] * BINS
    for probability in probabilities:
        counts[min(BINS - 1, int(probability * BINS))] += 1
    return counts


def propensity_options(decisions: Sequence[DecisionSummary]) -> Options:
    """How many decisions drew an action of which probability."""
    counts = histogram([decision.probability for decision in decisions])
    labels = [f"{index / BINS:.1f} to {(index + 1) / BINS:.1f}" for index in range(BINS)]
    sure = sum(counts[BINS // 2 :]) / max(1, len(decisions))
    description = f"Propensities of {len(decisions)} decisions: {sure:.0%} drew an action likelier than one half."
    return _bars(description, labels, {"decisions": counts}, "propensity")


def exploration_options(decisions: Sequence[DecisionSummary]) -> Options:
    """Mean propensity of what was drawn, over the newest decisions, oldest first: it rises as exploring ends."""
    ordered = [decision.probability for decision in reversed(decisions)]
    width = max(1, -(-len(ordered) // STRETCHES))
    means = [fmean(ordered[start : start + width]) for start in range(0, len(ordered), width)]
    points = [[min((index + 1) * width, len(ordered)), round(mean, 4)] for index, mean in enumerate(means)]
    description = "No decisions yet."
    if means:
        description = f"Mean propensity over the newest {len(ordered)} decisions: {means[0]:.2f} at first, then "
        description += f"{means[-1]:.2f} at the end."
    return {
        **canvas(description),
        "tooltip": tooltip(),
        "xAxis": axis(0, max(1, len(ordered)), grid=False) | named("newest decisions, oldest first"),
        "yAxis": axis(0, 1, grid=True),
        "series": [_line("mean propensity", points, "var(--accent)")],
    }


def share_options(shares: Sequence[ActionShare]) -> Options:
    """Bars of the most frequent actions' shares."""
    shown = shares[:STRETCHES]
    most = f" The most frequent is {shown[0].action_id} with {shown[0].share:.0%}." if shown else ""
    values = {"share": [round(one.share, 4) for one in shown]}
    return _bars(f"Shares of {len(shares)} actions.{most}", [one.action_id for one in shown], values, "action")


def correlation_options(history: Sequence[CorrelationPoint]) -> Options:
    """Whether actions followed the state, report by report, beside what chance alone gives."""
    last = history[-1].sequence if history else 1
    newest = "" if not history or history[-1].correlation is None else f": {history[-1].correlation:+.2f} lately"
    return {
        **canvas(f"Correlation of actions with the state over {len(history)} reports{newest}."),
        "tooltip": tooltip(),
        "legend": _legend(),
        "xAxis": axis(0, last, grid=False) | named("experiences"),
        "yAxis": axis(-1, 1, grid=True),
        "series": [
            _line("actions follow the state", [[one.sequence, one.correlation] for one in history], "var(--accent)"),
            _line("shuffled actions", [[one.sequence, one.permuted] for one in history], "var(--version-none)"),
        ],
    }


def selection_options(fairness: Fairness) -> Options:
    """How often each segment was given each of the most frequent actions."""
    actions = list(next(iter(fairness.segments.values())).selection_rates) if fairness.segments else []
    values = {
        segment: [
            round(of.selection_rates[action].value, 4) if action in of.selection_rates else None for action in actions
        ]
        for segment, of in fairness.segments.items()
    }
    return _bars(f"Selection rates of {len(actions)} actions in {len(values)} segments.", actions, values, "action")


def training_options(curve: Sequence[CurvePoint], live: Sequence[tuple[int, float]] = ()) -> Options:
    """Loss and learning rate over the steps; `live` are (step, loss) of a run that goes on."""
    losses = [[point.step, point.loss] for point in curve] or [list(point) for point in live]
    rates = [[point.step, point.learning_rate] for point in curve]
    told = f": the loss went from {losses[0][1]:.4f} to {losses[-1][1]:.4f}." if losses else "."
    second = axis(0, None, grid=False) | {"position": "right", "axisLine": {"show": False}}
    return {
        **canvas(f"Loss and learning rate over {losses[-1][0] if losses else 0} steps{told}"),
        "tooltip": tooltip(),
        "legend": _legend(),
        "xAxis": axis(0, losses[-1][0] if losses else 1, grid=False) | named("steps"),
        "yAxis": [axis(None, None, grid=True) | {"scale": True}, second],
        "series": [
            _line("loss", losses, "var(--accent)"),
            _line("learning rate", rates, "var(--version-2)") | {"yAxisIndex": 1},
        ],
    }


def _share(action_id: str, decisions: Sequence[DecisionSummary], of: int) -> ActionShare:
    rewards = [decision.reward for decision in decisions if decision.reward is not None]
    return ActionShare(
        action_id,
        len(decisions),
        len(decisions) / max(1, of),
        fmean(decision.probability for decision in decisions) if decisions else 0.0,
        fmean(rewards) if rewards else None,
    )


def _bars(description: str, labels: Sequence[str], values: Mapping[str, Sequence[float | None]], name: str) -> Options:
    colours = ["var(--accent)", *(f"var(--version-{index})" for index in range(1, VERSION_COLOURS))]
    several: Options = {"legend": _legend()} if len(values) > 1 else {}
    return {
        **canvas(description),
        **several,
        "tooltip": tooltip(),
        "xAxis": axis(None, None, grid=False)
        | named(name)
        | {"type": "category", "data": list(labels), "axisLabel": {"color": "var(--muted)", "hideOverlap": True}},
        "yAxis": axis(0, None, grid=True),
        "series": [
            {
                "type": "bar",
                "name": series,
                "data": list(numbers),
                "itemStyle": {"color": colours[index % len(colours)], "borderRadius": [3, 3, 0, 0]},
                "barMaxWidth": 42,
                "emphasis": {"disabled": True},
            }
            for index, (series, numbers) in enumerate(values.items())
        ],
    }


def _line(name: str, points: Sequence[Sequence[float | None]], colour: str) -> dict[str, object]:
    return {
        "type": "line",
        "name": name,
        "data": [list(point) for point in points],
        "symbol": "circle",
        "symbolSize": 4,
        "itemStyle": {"color": colour},
        "lineStyle": {"color": colour, "width": 2},
        "emphasis": {"disabled": True},
    }


def _legend() -> dict[str, object]:
    return {"top": 0, "right": 0, "textStyle": {"color": "var(--muted)"}, "itemHeight": 8, "itemWidth": 14}
