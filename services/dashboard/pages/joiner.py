"""Whether decisions and feedback find each other: lag, what dangles, what came late or twice, what was put aside."""

from collections.abc import Mapping

from services.dashboard import tables, wording
from services.dashboard.answers import Statistics
from services.dashboard.elements import Facts, Table, Text, section
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import GatewayClient, JoinerView
from services.dashboard.site import Site

NOW = {
    "Lag": "events that the joiner has not read, of all loops",
    "Kept": "events that the gateway keeps until the log is back",
    "Closed by timeout": "experiences whose window ended with something missing",
    "Dead letters": "of this loop, put aside as unreadable",
}
EVENTS = {
    "Dangling": "feedback whose decision is not known",
    "Late": "feedback after the window: kept, not counted",
    "Duplicate feedback": "repeated ids: counted once",
    "Duplicate decisions": "repeated ids: counted once",
    "Duplicate activations": "repeated: the first one counts",
    "Conflicting": "decisions of a known id that say something else",
    "Restated": "rewards computed anew under a new definition",
    "Tenant's dead letters": "of all loops, not replayed",
}


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Joiner") as place:
        page = _JoinerPage()
        live = Live(lambda: client.read_joiner(loop_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _JoinerPage:
    """The page's parts, each of which changes in place."""

    def __init__(self) -> None:
        Text("h1", "Joiner")
        Text("p", "It joins decisions with their feedback into experiences.", "note")
        self._now = Facts(NOW)
        self._warning = Text("p", "", "warning")
        with section("Events", "What came, and could not be counted as it came.").body:
            self._events = Facts(EVENTS)
        with section("Dead letters", "The tenant's first, with why; `rewardloop dead-letters` replays them.").body:
            self._letters = Table("Dead letters", tables.DEAD_LETTERS, "None.")

    def show(self, view: JoinerView) -> None:
        statistics = view.statistics
        self._now.show(_now(statistics))
        self._events.show({name: wording.count(number) for name, number in _counts(statistics).items()})
        self._warning.set_text(" ".join(statistics.warnings))
        self._letters.show(tables.letter_rows(view.dead_letters))


def _now(statistics: Statistics) -> Mapping[str, str]:
    lag = statistics.joiner_lag
    return {
        "Lag": "unknown: the log is away" if lag is None else wording.count(sum(lag.values())),
        "Kept": wording.count(sum(statistics.spooled.values())),
        "Closed by timeout": wording.percent(statistics.share_closed_by_timeout),
        "Dead letters": wording.count(statistics.dead_letters),
    }


def _counts(statistics: Statistics) -> Mapping[str, int]:
    return {
        "Dangling": statistics.dangling_feedback,
        "Late": statistics.late_feedback,
        "Duplicate feedback": statistics.duplicate_feedback,
        "Duplicate decisions": statistics.duplicate_decisions,
        "Duplicate activations": statistics.duplicate_activations,
        "Conflicting": statistics.conflicting_decisions,
        "Restated": statistics.restated,
        "Tenant's dead letters": statistics.tenant_dead_letters,
    }
