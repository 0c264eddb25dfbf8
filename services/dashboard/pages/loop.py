"""A loop's page: its reward by version, its counts, what it looks at, versions, training runs and latest decisions."""

from collections.abc import Callable, Sequence
from typing import Final

from nicegui import ui

from services.dashboard import charts, examples, tables, wording
from services.dashboard.answers import Range, Statistics
from services.dashboard.elements import Table, Text, box, button, code_block, section, set_props
from services.dashboard.frame import Crumb, Live, frame
from services.dashboard.gateway import GatewayClient, GatewayError, LoopDetail
from services.dashboard.paths import loop_path
from services.dashboard.site import Site

COUNTERS: Final[Sequence[tuple[str, str, Callable[[Statistics], int]]]] = (
    ("Decisions", "choices made for your product", lambda statistics: statistics.decisions),
    ("Feedback", "events received about them", lambda statistics: statistics.feedback),
    ("Experiences", "decisions joined with their reward", lambda statistics: statistics.experiences),
    ("Dangling", "feedback whose decision is not known", lambda statistics: statistics.dangling_feedback),
    ("Late", "feedback after the window: kept, not counted", lambda statistics: statistics.late_feedback),
    ("Duplicates", "repeated ids: counted once", lambda statistics: statistics.duplicates),
)


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with frame([Crumb(loop_id, loop_path(loop_id))]) as place:
        page = _LoopPage(loop_id, site.settings.gateway)
        live = Live(lambda: client.read_loop(loop_id), page.show, place, site.now)
        page.fine_tune.on("click", lambda: _fine_tune(client, loop_id, live))
        await live.start(site.settings.dashboard_refresh)


async def _fine_tune(client: GatewayClient, loop_id: str, live: Live[LoopDetail]) -> None:
    try:
        await client.fine_tune(loop_id)
    except GatewayError as error:
        ui.notify(f"No training run was asked for. {error}", type="negative")
    else:
        ui.notify("Training run queued. It learns from all experiences so far.", type="positive")
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
            self.fine_tune = button("Fine-tune now", "primary")
            self.fine_tune.props["title"] = "Trains a new model version on all experiences so far"
        self._first_step = box("section", "card empty")
        self._reward = _RewardPart()
        self._counters = _Counters()
        self._modalities_part = section("Modality importance")
        with self._modalities_part.body:
            self._modalities = Table(
                "Modality importance", tables.MODALITIES, "Not yet: it takes fifty experiences and a minute."
            )
        with section("Model versions", "What each version earned; one that passes the gate becomes champion.").body:
            self._versions = Table("Model versions", tables.VERSIONS, "None yet: the first one is being made.")
        with section("Training runs", "Each fine-tunes the deep model on the experiences so far.").body:
            self._runs = Table("Training runs", tables.RUNS, "None yet.")
        with section("Latest decisions", "Choose an action to see what it rested on.").body:
            self._decisions = Table("Latest decisions", tables.DECISIONS, "None yet.")

    def show(self, detail: LoopDetail) -> None:
        loop, statistics = detail.loop, detail.statistics
        self._problem.set_text(wording.problem(loop))
        self._show_first_step(detail)
        self._reward.show(statistics, loop.reward.range)
        self._counters.show(statistics)
        self._modalities_part.note.set_text(wording.follows(statistics))
        self._modalities.show(tables.modality_rows(statistics))
        self._versions.show(tables.version_rows(loop, detail.versions, statistics.reward_by_version))
        self._runs.show(tables.run_rows(detail.training_runs))
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
            self._chart = ui.echart({}, renderer="svg").classes("curve")
            self._empty = Text("p", "The curve begins with the first experience.", "note")

    def show(self, statistics: Statistics, reward_range: Range) -> None:
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
            set_props(self._chart, {"options": charts.reward_curve_options(curve, reward_range)})


class _Counters:
    """What the loop has gathered, each with a line that says what it is."""

    def __init__(self) -> None:
        self._numbers: list[Text] = []
        with box("dl", "counters"):
            for name, meaning, _ in COUNTERS:
                with box("div", "card"):
                    Text("dt", name)
                    self._numbers.append(Text("dd", wording.NOTHING))
                    Text("dd", meaning, "note")

    def show(self, statistics: Statistics) -> None:
        for number, (_, _, count_of) in zip(self._numbers, COUNTERS, strict=True):
            number.set_text(wording.count(count_of(statistics)))
