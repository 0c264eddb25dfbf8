"""Whether segments are treated alike: what each earns, and how often each is given which action."""

from collections.abc import Mapping

from services.dashboard import distributions, tables, wording
from services.dashboard.answers import Range
from services.dashboard.elements import Chart, Table, Text, box, code_block, section
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import GatewayClient, LoopView
from services.dashboard.site import Site
from shared.loop_report import Fairness

SETTING = '"fairness": {"segments": ["<modality>.<field>"]}'


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Fairness") as place:
        page = _FairnessPage()
        live = Live(lambda: client.read_view(loop_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _FairnessPage:
    """A part a segment field, or what to do while there is none."""

    def __init__(self) -> None:
        Text("h1", "Fairness")
        self._note = Text("p", "", "note")
        with box("section", "card empty") as self._empty:
            Text("h2", "Nothing to compare yet")
            Text("p", "Name fields of the loop's tables in its settings; figures come with the trainer's next report:")
            code_block(SETTING)
        self._parts: dict[str, _Segments] = {}
        self._place = box("div", "stack")

    def show(self, view: LoopView) -> None:
        found = view.statistics.fairness
        self._note.set_text(wording.reported(view.statistics))
        self._empty.set_visibility(not found)
        if list(found) != list(self._parts):
            self._arrange(found)
        for field, part in self._parts.items():
            part.show(found[field], view.loop.reward.range)

    def _arrange(self, found: Mapping[str, Fairness]) -> None:
        self._place.clear()
        with self._place:
            self._parts = {field: _Segments(field) for field in found}


class _Segments:
    """What is found of one segment field."""

    def __init__(self, field: str) -> None:
        self._section = section(field)
        with self._section.body:
            self._segments = Table(f"Segments of {field}", tables.SEGMENTS, "No segment has decisions enough.")
            self._chart = Chart("chart")
            self._parity = Table(f"Selection rates by {field}", tables.PARITY, "It takes two segments to compare.")

    def show(self, fairness: Fairness, reward_range: Range) -> None:
        gap = fairness.reward_difference
        apart = "" if gap is None else f"Mean rewards lie {wording.reward(gap, reward_range)} apart. "
        self._section.note.set_text(
            f"{apart}{wording.count(fairness.left_out)} decisions are left out: without the field, or too few alike."
        )
        self._segments.show(tables.segment_rows(fairness, reward_range))
        self._chart.set_visibility(bool(fairness.segments))
        self._chart.show(distributions.selection_options(fairness))
        self._parity.show(tables.parity_rows(fairness))
