"""The overview: every loop of the tenant, and whether it is learning."""

from collections.abc import Sequence

from nicegui import ui

from services.dashboard import charts, examples, wording
from services.dashboard.elements import Text, box, code_block, set_props
from services.dashboard.frame import Live, frame
from services.dashboard.gateway import LOOPS_SHOWN, GatewayClient, LoopView
from services.dashboard.paths import loop_path
from services.dashboard.site import Site


async def show(site: Site, key: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with frame() as place:
        with box("div", "title"), box("div"):
            Text("h1", "Loops")
            Text("p", "Each is one decision problem that learns from its feedback.", "note")
        page = _Overview(site.settings.gateway)
        await Live(client.read_overview, page.show, place, site.now).start(site.settings.dashboard_refresh)


class _Overview:
    """The cards by loop, or what to do while there is none."""

    def __init__(self, gateway_url: str) -> None:
        self._cards: dict[str, _Card] = {}
        with box("section", "card empty") as self._empty:
            Text("h2", "No loop yet")
            Text("p", "A loop names what your product knows of the moment and what it may choose. Make the first one:")
            code_block(examples.create_loop(gateway_url))
        self._grid = box("div", "loops")
        self._more = Text("p", f"Only the first {LOOPS_SHOWN} loops are shown.", "note")
        self._empty.set_visibility(False)
        self._more.set_visibility(False)

    def show(self, views: Sequence[LoopView]) -> None:
        self._empty.set_visibility(not views)
        self._more.set_visibility(len(views) >= LOOPS_SHOWN)
        names = [view.loop.loop_id for view in views]
        if list(self._cards) != names:
            self._arrange(names)
        for view in views:
            self._cards[view.loop.loop_id].show(view)

    def _arrange(self, names: Sequence[str]) -> None:
        """Makes the cards anew, in order: loops come and go seldom."""
        self._grid.clear()
        with self._grid:
            self._cards = {name: _Card(name) for name in names}


class _Card:
    """One loop at a glance."""

    def __init__(self, loop_id: str) -> None:
        with box("a", "card loop") as card:
            card.props["href"] = loop_path(loop_id)
            with box("div", "card-head"):
                Text("h2", loop_id)
                self._problem = Text("p", "", "note")
            with box("div", "glance"):
                with box("div"):
                    self._reward = Text("div", wording.NOTHING, "big")
                    Text("div", "recent reward", "note")
                self._curve = ui.html("", sanitize=False).classes("sparkline")
            with box("p", "verdict"):
                self._trend = Text("span", "", "pill")
                self._sentence = Text("span", "")
            with box("dl", "figures"):
                self._decisions = _figure("Decisions")
                self._experiences = _figure("Experiences")
                self._champion = _figure("Champion")

    def show(self, view: LoopView) -> None:
        loop, statistics = view.loop, view.statistics
        reward_range = loop.reward.range
        verdict = wording.judge(statistics.reward_curve, reward_range)
        self._problem.set_text(wording.problem(loop))
        self._reward.set_text(wording.reward(wording.recent_mean(statistics.reward_curve), reward_range))
        self._curve.set_content(charts.sparkline(statistics.reward_curve, reward_range))
        self._trend.set_text(verdict.name)
        set_props(self._trend, {"data-trend": verdict.trend})
        self._sentence.set_text(verdict.sentence)
        self._decisions.set_text(wording.count(statistics.decisions))
        self._experiences.set_text(wording.count(statistics.experiences))
        self._champion.set_text(wording.version(loop.champion))


def _figure(name: str) -> Text:
    with box("div"):
        Text("dt", name)
        return Text("dd", wording.NOTHING)
