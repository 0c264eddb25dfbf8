"""A loop's rollouts, and a form that starts one; one of them with its evidence, and the buttons that lead it."""

from nicegui import ui

from services.dashboard import lifecycle_tables, lifecycle_wording, wording
from services.dashboard.answers import Loop
from services.dashboard.calling import GatewayError
from services.dashboard.elements import Choice, Entry, Facts, Table, Text, box, button, confirm, fieldset, section
from services.dashboard.frame import Crumb, Live, loop_frame
from services.dashboard.gateway import GatewayClient, Lifecycle
from services.dashboard.lifecycle_answers import RolloutDetail
from services.dashboard.pages.acting import told
from services.dashboard.paths import loop_path
from services.dashboard.site import Site

STRATEGIES = {
    "progressive": "progressive: a growing share",
    "canary": "canary: one share",
    "shadow": "shadow: it only scores along",
    "immediate": "immediate: at once",
}
# What a button does, as its confirmation tells it.
CONSEQUENCES = {
    "promote": "It makes all decisions within two seconds, whatever its evidence says by now.",
    "pause": "It keeps its share of the decisions until it is resumed; guardrails go on to act.",
    "resume": "It goes on by its steps.",
    "rollback": "The champion makes all decisions again within two seconds, and the rollout is over.",
}


async def show_all(site: Site, key: str, loop_id: str, version: str) -> None:
    """Builds the list and the form, and keeps the list current; `version` is the one that the form begins with."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Rollouts") as place:
        Text("h1", "Rollouts")
        with section("Rollouts", "A version on its way to becoming the champion, judged by what it earns.").body:
            rollouts = Table("Rollouts", lifecycle_tables.ROLLOUTS, "None yet.")
        form = _StartForm(client, loop_id, version)

        def show(found: Lifecycle) -> None:
            rollouts.show(lifecycle_tables.rollout_rows(found.loop, found.rollouts))
            form.show(found)

        live = Live(lambda: client.read_rollouts(loop_id), show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _StartForm:
    """What a rollout is started with; what is left empty is as in the loop's settings."""

    def __init__(self, client: GatewayClient, loop_id: str, version: str) -> None:
        self._client, self._loop_id, self._wanted = client, loop_id, version
        with section("Start a rollout", "What is left empty is as in the loop's settings.").body:
            with fieldset() as self._form:
                self._version = Choice("Model version", {}, version)
                self._strategy = Choice("Strategy", STRATEGIES)
                self._steps = Entry("Steps, in percent", kind="text", placeholder="10, 25, 50")
                self._minutes = Entry("Minutes a step takes at least", kind="number", min=0, placeholder="10")
                self._decisions = Entry("Decisions a step needs", kind="number", min=1, placeholder="200")
                button("Start rollout", "primary").on("click", self._start)
            self._none = Text("p", "There is no version to roll out: every one serves, or was turned down.", "note")

    def show(self, found: Lifecycle) -> None:
        ready = {
            one.version: wording.version(one.version)
            for one in found.versions
            if one.status == "ready" and one.version != found.loop.champion
        }
        self._version.offer(ready, self._wanted)
        self._form.set_visibility(bool(ready))
        self._none.set_visibility(not ready)

    async def _start(self) -> None:
        version = self._version.value
        try:
            body = self._body()
        except ValueError:
            ui.notify("Steps are whole numbers with commas between them, such as 10, 25, 50.", type="negative")
            return
        question = f"Roll out version {version}?"
        if not await confirm(question, f"Strategy {STRATEGIES[self._strategy.value]}.", "Start rollout"):
            return
        try:
            rollout = await self._client.start_rollout(self._loop_id, body)
        except GatewayError as error:
            ui.notify(f"No rollout was started. {error}", type="negative")
        else:
            ui.navigate.to(loop_path(self._loop_id, "rollouts", rollout.rollout_id))

    def _body(self) -> dict[str, object]:
        """Raises ValueError where the steps are no numbers."""
        body: dict[str, object] = {"model_version": self._version.value, "strategy": self._strategy.value}
        if self._steps.value.strip():
            body["steps"] = [int(step) for step in self._steps.value.split(",")]
        if self._minutes.value:
            body["step_duration"] = f"PT{float(self._minutes.value):g}M"
        if self._decisions.value:
            body["min_decisions"] = int(self._decisions.value)
        return body


async def show_one(site: Site, key: str, loop_id: str, rollout_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    here = loop_path(loop_id, "rollouts", rollout_id)
    with loop_frame(loop_id, "Rollouts", Crumb(rollout_id[-8:], here)) as place:
        page = _RolloutPage()
        live = Live(lambda: client.read_rollout(loop_id, rollout_id), page.show, place, site.now)

        async def lead(verb: str) -> None:
            name = lifecycle_wording.VERB_NAMES[verb]
            if await confirm(f"{name} this rollout?", CONSEQUENCES[verb], name):
                await told(client.lead_rollout(loop_id, rollout_id, verb), f"Done: {name.lower()}.", "Nothing changed.")
                await live.refresh()

        for verb, one in page.buttons.items():
            one.on("click", lambda verb=verb: lead(verb))
        await live.start(site.settings.dashboard_refresh)


class _RolloutPage:
    """What is known of one rollout."""

    def __init__(self) -> None:
        with box("div", "title"):
            with box("div"):
                self._heading = Text("h1", "Rollout")
                self._when = Text("p", "", "note")
            with box("div", "buttons"):
                self.buttons = {
                    verb: button(name, "primary" if verb == "promote" else "")
                    for verb, name in lifecycle_wording.VERB_NAMES.items()
                }
        self._detail = Text("p", "", "warning")
        self._facts = Facts(
            {
                "Status": "running, held, or how it ended",
                "Share": "of the decisions that it makes now",
                "Steps": "in percent of the decisions; [ ]: now",
                "Difference": "in mean reward, with its bounds",
            }
        )
        with section("Evidence", "Both arms in the same time.").body:
            self._arms = Table("Evidence", lifecycle_tables.ARMS, "Nothing was looked at yet.")
        with section("Steps", "What happened, with the figures that decided it, newest first.").body:
            self._events = Table("Steps", lifecycle_tables.EVENTS, "None yet.")

    def show(self, found: tuple[Loop, RolloutDetail]) -> None:
        loop, rollout = found
        champion = wording.version(rollout.champion_version)
        self._heading.set_text(f"Rollout of version {rollout.model_version}")
        self._when.set_text(f"against {champion} · since {rollout.started_at:%Y-%m-%d %H:%M:%S} UTC")
        self._detail.set_text("" if rollout.detail is None else f"{wording.plain(rollout.status)}: {rollout.detail}")
        self._facts.show(
            {
                "Status": wording.plain(rollout.status),
                "Share": f"{rollout.percent} %",
                "Steps": lifecycle_wording.steps(rollout),
                "Difference": lifecycle_wording.difference(rollout.figures, loop.reward.range),
            }
        )
        may = lifecycle_wording.verbs(rollout, loop.champion)
        for verb, one in self.buttons.items():
            one.set_visibility(verb in may)
        self._arms.show(lifecycle_tables.arm_rows(rollout, loop.reward.range))
        self._events.show(lifecycle_tables.event_rows(rollout, loop.reward.range))
