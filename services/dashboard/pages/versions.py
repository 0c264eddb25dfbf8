"""A loop's model versions with their lineage; and one of them, beside another."""

from collections.abc import Sequence

from nicegui import ui

from services.dashboard import distributions, lifecycle_tables, lifecycle_wording, wording
from services.dashboard.answers import Range
from services.dashboard.elements import Chart, Choice, Facts, Table, Text, box, button, fieldset, link, section
from services.dashboard.frame import Crumb, Live, loop_frame
from services.dashboard.gateway import GatewayClient, Lifecycle, VersionView
from services.dashboard.lifecycle_answers import Evaluation, ModelVersion
from services.dashboard.paths import loop_path
from services.dashboard.site import Site

# A version never changes; its aliases and evaluations do.
SLOWER = 3


async def show_all(site: Site, key: str, loop_id: str) -> None:
    """Builds the list and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Versions") as place:
        Text("h1", "Model versions")
        with section("Lineage", "Each starts from its parent's weights; choose one to see what changed.").body:
            versions = Table("Model versions", lifecycle_tables.LINEAGE, "None yet: the first one is being made.")

        def show(found: Lifecycle) -> None:
            versions.show(lifecycle_tables.lineage_rows(found.loop, found.versions))

        live = Live(lambda: client.read_versions(loop_id), show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


async def show_one(site: Site, key: str, loop_id: str, version: str, against: str | None) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    here = loop_path(loop_id, "models", version)
    with loop_frame(loop_id, "Versions", Crumb(wording.version(version), here)) as place:
        page = _VersionPage(loop_id, version)
        live = Live(lambda: client.read_version(loop_id, version, against), page.show, place, site.now)
        await live.start(SLOWER * site.settings.dashboard_refresh)


class _VersionPage:
    """What is known of one version, and what it and another one differ in."""

    def __init__(self, loop_id: str, version: str) -> None:
        self._here = loop_path(loop_id, "models", version)
        self._loop_id = loop_id
        self._lineage: list[str] = []
        with box("div", "title"):
            with box("div"):
                Text("h1", f"Model version {version}")
                self._when = Text("p", "", "note")
            self._roll_out = link("Roll it out", f"{loop_path(loop_id, 'rollouts')}?version={version}", "button")
        with box("p", "lineage") as self._line:
            self._line.props["aria-label"] = "Lineage"
        self._facts = Facts(
            {
                "Status": "ready to serve, or turned down",
                "Aliases": "what it is known by now",
                "Experiences": "learned from, by their sequence",
                "Evaluation": "newest off-policy value",
            }
        )
        with section("Differences", "Settings, metrics, experiences, weights and evaluation.").body:
            with fieldset() as self._form:
                self._other = Choice("Compare with", {})
                button("Compare").on("click", self._compare)
            self._differences = Table("Differences", lifecycle_tables.DIFFERENCES, "They differ in nothing.")
        with section("Loss and learning rate", "Of the fine-tune that made it.").body:
            self._curve = Chart()
            self._run = link("Training run", "")

    def show(self, view: VersionView) -> None:
        version, values = view.version, evaluated(view.evaluations, view.loop.reward.range)
        self._when.set_text(
            f"made at {version.created_at:%Y-%m-%d %H:%M:%S} UTC · settings revision {version.settings_revision} · "
            f"code {version.code_version}"
        )
        self._roll_out.set_visibility(version.status == "ready" and "champion" not in version.aliases)
        self._show_lineage(lineage_of(version, view.versions))
        self._facts.show(
            {
                "Status": lifecycle_wording.gate(version) or version.status,
                "Aliases": ", ".join(version.aliases) or wording.NOTHING,
                "Experiences": lifecycle_tables.data_window(version),
                "Evaluation": values.get(version.version, wording.NOTHING),
            }
        )
        others = {one.version: wording.version(one.version) for one in view.versions if one.version != version.version}
        self._other.offer(others, "" if view.other is None else view.other.version)
        self._form.set_visibility(bool(others))
        self._differences.show(lifecycle_tables.difference_rows(version, view.other, values))
        self._curve.set_visibility(bool(version.training_curve))
        self._curve.show(distributions.training_options(version.training_curve))
        self._run.props["href"] = loop_path(self._loop_id, "training-runs", version.training_run_id)

    def _show_lineage(self, line: list[str]) -> None:
        """From the first ancestor to this version and on to its children."""
        if line == self._lineage:
            return
        self._lineage = line
        self._line.clear()
        with self._line:
            for index, name in enumerate(line):
                if index:
                    Text("span", "→").props["aria-hidden"] = "true"
                link(wording.version(name), loop_path(self._loop_id, "models", name))

    def _compare(self) -> None:
        if self._other.value:
            ui.navigate.to(f"{self._here}?against={self._other.value}")


def lineage_of(version: ModelVersion, versions: Sequence[ModelVersion]) -> list[str]:
    """Its ancestors as far as they are listed, the oldest first, itself, and its children."""
    parents = {one.version: one.parent for one in versions} | {version.version: version.parent}
    line = [version.version]
    while (parent := parents.get(line[0])) is not None:
        line.insert(0, parent)
    return line + sorted((one for one, parent in parents.items() if parent == version.version), key=int)


def evaluated(evaluations: Sequence[Evaluation], reward_range: Range) -> dict[str, str]:
    """What the newest evaluation of each version found, by version."""
    found: dict[str, str] = {}
    for evaluation in evaluations:
        match evaluation.target:
            case {"model_version": str(version)} if evaluation.result is not None:
                found.setdefault(version, lifecycle_wording.evaluation_outcome(evaluation, reward_range))
    return found
