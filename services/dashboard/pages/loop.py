"""A loop's first page: its reward by version beside other policies, its counts, versions and latest decisions."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from services.dashboard import charts, examples, lifecycle_tables, lifecycle_wording, tables, wording
from services.dashboard.answers import Range, Statistics
from services.dashboard.elements import Chart, Facts, Table, Text, box, button, code_block, section, set_props
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import GatewayClient, LoopDetail
from services.dashboard.lifecycle_answers import Evaluation
from services.dashboard.pages.acting import told
from services.dashboard.site import Site

COUNTERS: Final[Sequence[tuple[str, str, Callable[[Statistics], int]]]] = (
    ("Decisions", "choices made for your product", lambda statistics: statistics.decisions),
    ("Feedback", "events received about them", lambda statistics: statistics.feedback),
    ("Experiences", "decisions joined with their reward", lambda statistics: statistics.experiences),
    ("Dangling", "feedback whose decision is not known", lambda statistics: statistics.dangling_feedback),
    ("Late", "feedback after the window: kept, not counted", lambda statistics: statistics.late_feedback),
    ("Duplicates", "repeated ids: counted once", lambda statistics: statistics.duplicates),
)

# What the curve is held against, by off-policy evaluation.
YARDSTICKS: Final = ("baseline", "uniform")


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Reward") as place:
        page = _LoopPage(loop_id, site.settings.gateway)
        live = Live(lambda: client.read_loop(loop_id), page.show, place, site.now)
        page.compare.on("click", lambda: _compare(client, loop_id, live))
        await live.start(site.settings.dashboard_refresh)


async def _compare(client: GatewayClient, loop_id: str, live: Live[LoopDetail]) -> None:
    """Has both yardsticks evaluated on what is logged by now."""
    asked = asyncio.gather(*(client.evaluate(loop_id, {"target": name}) for name in YARDSTICKS))
    await told(asked, "Evaluations queued: their lines appear here.", "Nothing was evaluated.")
    await live.refresh()


class _LoopPage:
    """The page's parts, each of which changes in place."""

    def __init__(self, loop_id: str, gateway_url: str) -> None:
        self._gateway_url = gateway_url
        self._first_step_shown: str | None = None
        with box("div", "title"):
            with box("div"):
                Text("h1", loop_id)
                self._problem = Text("p", "", "note")
            self.compare = button("Compare policies")
            self.compare.props["title"] = "Evaluates the baseline and the uniform policy on what is logged by now"
        self._first_step = box("section", "card empty")
        self._reward = _RewardPart()
        self._counters = Facts({name: meaning for name, meaning, _ in COUNTERS})
        with section("Model versions", "What each version earned; one that passes the gate becomes champion.").body:
            self._versions = Table("Model versions", lifecycle_tables.VERSIONS, "None yet: the first is being made.")
        with section("Latest decisions", "Choose an action to see what it rested on.").body:
            self._decisions = Table("Latest decisions", tables.DECISIONS, "None yet.")

    def show(self, detail: LoopDetail) -> None:
        loop, statistics = detail.loop, detail.statistics
        self._problem.set_text(wording.problem(loop))
        self._show_first_step(detail)
        self._reward.show(statistics, loop.reward.range, detail.evaluations)
        self._counters.show({name: wording.count(count_of(statistics)) for name, _, count_of in COUNTERS})
        self._versions.show(lifecycle_tables.version_rows(loop, detail.versions, statistics.reward_by_version))
        self._decisions.show(tables.decision_rows(loop, detail.decisions))

    def _show_first_step(self, detail: LoopDetail) -> None:
        """What to do next, while nothing is learned yet; made anew only when the step is another one."""
        statistics = detail.statistics
        step = "decide" if not statistics.decisions else "" if statistics.experiences else "feedback"
        if step == self._first_step_shown:
            return
        self._first_step_shown = step
        self._first_step.clear()
        self._first_step.set_visibility(bool(step))
        with self._first_step:
            if step == "decide":
                Text("h2", "No decision yet")
                Text("p", "Ask the loop for its first one:")
                code_block(examples.decide(self._gateway_url, detail.loop))
            elif step:
                Text("h2", "No experience yet")
                Text("p", "A decision becomes an experience when its feedback has come, or its window has ended:")
                newest = detail.decisions[0].decision_id if detail.decisions else "…"
                code_block(examples.give_feedback(self._gateway_url, detail.loop, newest))


class _RewardPart:
    """The reward curve, and in words whether it rises."""

    def __init__(self) -> None:
        self._part = section("Reward")
        with self._part.body:
            with box("p", "verdict"):
                self._trend = Text("span", "", "pill")
                self._sentence = Text("span")
                self._overall = Text("span", "", "note")
            self._warning = Text("p", "", "warning")
            self._chart = Chart()
            self._others = Text("p", "", "note")
            self._empty = Text("p", "The curve begins with the first experience.", "note")

    def show(self, statistics: Statistics, reward_range: Range, evaluations: Sequence[Evaluation]) -> None:
        curve = statistics.reward_curve
        verdict = wording.judge(curve, reward_range)
        self._trend.set_text(verdict.name)
        set_props(self._trend, {"data-trend": verdict.trend})
        self._sentence.set_text(verdict.sentence)
        self._overall.set_text(wording.overall(statistics.reward, reward_range))
        self._warning.set_text(" ".join(statistics.warnings))
        self._part.note.set_text(wording.curve_note(curve))
        self._chart.set_visibility(bool(curve))
        self._empty.set_visibility(not curve)
        if curve:
            yardsticks = yardsticks_of(evaluations)
            self._chart.show(charts.reward_curve_options(curve, reward_range, yardsticks))
            self._others.set_text(charts.describe_yardsticks(yardsticks, reward_range))


def yardsticks_of(evaluations: Sequence[Evaluation]) -> list[charts.Yardstick]:
    """The newest evaluation of each policy that the curve is held against, where there is one."""
    found = []
    for name in YARDSTICKS:
        results = (one.result for one in evaluations if one.target == name and one.result is not None)
        best = next((result.preferred for result in results if result.preferred is not None), None)
        if best is not None and best[1].value is not None:
            interval = lifecycle_wording.best_interval(best[1])
            found.append(charts.Yardstick(f"{name} policy", best[1].value, interval))
    return found
