"""How a loop explores: propensities, action shares, and what each action earned, of its newest decisions."""

from services.dashboard import distributions, tables, wording
from services.dashboard.elements import Chart, Facts, Table, Text, box, section
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import DECISIONS_COUNTED, GatewayClient, LoopActions
from services.dashboard.site import Site

# Times slower than the first page: each reading brings hundreds of decisions.
SLOWER = 3


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Actions") as place:
        page = _ActionsPage()
        live = Live(lambda: client.read_actions(loop_id), page.show, place, site.now)
        await live.start(SLOWER * site.settings.dashboard_refresh)


class _ActionsPage:
    """The page's parts, each of which changes in place."""

    def __init__(self) -> None:
        Text("h1", "Actions")
        self._note = Text("p", "", "note")
        self._facts = Facts(
            {
                "Strategy": "how scores become a distribution",
                "Floor": "share of every distribution that is spread evenly",
                "Mean propensity": "near 1: it hardly explores any more",
                "Fallback": "decisions that no model version made",
            }
        )
        with box("div", "halves"):
            with section("Propensities", "How likely the drawn action was, decision by decision.").body:
                self._propensities = Chart("chart")
            with section("Exploration", "Mean propensity of what was drawn: it rises as exploring ends.").body:
                self._exploration = Chart("chart")
        with section("Action shares", "How often each action was drawn.").body:
            self._shares = Chart("chart")
            self._actions = Table("Action shares", tables.ACTIONS, "No decision yet.")

    def show(self, found: LoopActions) -> None:
        loop, decisions = found.loop, found.decisions
        newest = "The newest" if len(decisions) == DECISIONS_COUNTED else "All"
        self._note.set_text(f"{newest} {wording.count(len(decisions))} decisions.")
        probabilities = [decision.probability for decision in decisions]
        fallbacks = sum(decision.fallback_reason is not None for decision in decisions)
        self._facts.show(
            {
                "Strategy": wording.plain(loop.exploration.strategy),
                "Floor": f"{loop.exploration.floor:g}",
                "Mean propensity": wording.probability(sum(probabilities) / len(decisions)) if decisions else "—",
                "Fallback": wording.percent(fallbacks / len(decisions)) if decisions else "—",
            }
        )
        shares = distributions.action_shares(decisions, [action.id for action in loop.actions])
        self._propensities.show(distributions.propensity_options(decisions))
        self._exploration.show(distributions.exploration_options(decisions))
        self._shares.show(distributions.share_options(shares))
        self._actions.show(tables.action_rows(shares, loop.reward.range))
