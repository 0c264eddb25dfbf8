"""Import of a log: a file of lines, sent on to the gateway as it comes, and what became of its lines."""

import json
from typing import Final

from nicegui.events import GenericEventArguments
from pydantic import ValidationError

from services.dashboard import lifecycle_tables, wording
from services.dashboard.elements import Facts, Table, Text, Upload, box, section
from services.dashboard.frame import Live, loop_frame
from services.dashboard.gateway import GatewayClient, LoopView
from services.dashboard.lifecycle_answers import ImportReport
from services.dashboard.paths import loop_path
from services.dashboard.site import Site

FORMATS: Final = {
    "rows": "rows: lines of this API's own (NDJSON)",
    "dsjson": "dsjson: a log of Azure Personalizer or Vowpal Wabbit",
}


async def show(site: Site, key: str, loop_id: str) -> None:
    """Builds the page and keeps its counts current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Import") as place:
        page = _ImportPage(loop_id)
        live = Live(lambda: client.read_view(loop_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _ImportPage:
    """The form, and what came of the file that was sent last."""

    def __init__(self, loop_id: str) -> None:
        Text("h1", "Import a log")
        Text(
            "p",
            "Decisions of another system with what came of them: learned from like any other.",
            "note",
        )
        self._counts = Facts({"Decisions": "in the loop by now", "Experiences": "joined by now"})
        with section("File", "Lines that are known already are taken once: sending a file again does no harm.").body:
            upload = Upload(loop_path(loop_id, "import"), FORMATS)
            upload.on("done", self._told)
        self._report = box("div")
        self._report.set_visibility(False)
        with self._report, section("Report").body:
            self._problem = Text("p", "", "error")
            self._problem.props["role"] = "alert"
            self._lines = Facts(
                {
                    "Accepted": "durable, and joined soon",
                    "Duplicates": "known already",
                    "Skipped": "not taken; the first thousand say why",
                }
            )
            self._skipped = Table("Skipped lines", lifecycle_tables.SKIPPED, "No line was skipped.")

    def show(self, view: LoopView) -> None:
        statistics = view.statistics
        self._counts.show(
            {
                "Decisions": wording.count(statistics.decisions),
                "Experiences": wording.count(statistics.experiences),
            }
        )

    def _told(self, event: GenericEventArguments) -> None:
        """The answer of the dashboard's own address: a report, or a problem in words."""
        text = str(event.args)
        self._report.set_visibility(True)
        try:
            report = ImportReport.model_validate_json(text)
        except ValidationError:
            self._problem.set_text(_problem(text))
            return
        self._problem.set_text("")
        self._lines.show(
            {
                "Accepted": wording.count(report.accepted),
                "Duplicates": wording.count(report.duplicates),
                "Skipped": wording.count(report.skipped_total),
            }
        )
        self._skipped.show(
            [{"key": str(one.line), "line": wording.count(one.line), "reason": one.reason} for one in report.skipped]
        )


def _problem(text: str) -> str:
    try:
        return str(json.loads(text)["problem"])
    except (ValueError, KeyError, TypeError):
        return "The file did not arrive. Send it again: what is known already is taken once."
