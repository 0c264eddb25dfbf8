"""What a loop's champion looks at: importance and missing rates of modalities, and whether actions follow the state."""

from services.dashboard import distributions, tables, wording
from services.dashboard.elements import Chart, Table, Text, box, section
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import GatewayClient, LoopView
from services.dashboard.site import Site

WAITS = "Not yet: it takes fifty experiences and a minute."


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Modalities") as place:
        page = _ModalitiesPage()
        live = Live(lambda: client.read_view(loop_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _ModalitiesPage:
    """The page's parts, each of which changes in place."""

    def __init__(self) -> None:
        Text("h1", "Modalities")
        self._note = Text("p", "", "note")
        with section("Modality importance", "What moves the estimate of the chosen action.").body:
            self._importance = Table("Modality importance", tables.MODALITIES, WAITS)
        with box("div", "halves"):
            self._follows = section("Do actions follow the state?")
            with self._follows.body:
                self._history = Chart("chart")
            with section("By action", "The most frequent actions, those that follow it most first.").body:
                self._by_action = Table("Correlation by action", tables.FOLLOWS, WAITS)

    def show(self, view: LoopView) -> None:
        statistics = view.statistics
        self._note.set_text(wording.reported(statistics) or WAITS)
        self._importance.show(tables.modality_rows(statistics))
        self._follows.note.set_text(wording.follows(statistics))
        self._history.show(distributions.correlation_options(statistics.modality_correlation_history))
        self._by_action.show(tables.follows_rows(statistics))
