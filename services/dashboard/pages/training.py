"""A loop's training runs, live; and one of them with the curves of its loss and learning rate."""

from services.dashboard import distributions, lifecycle_tables, lifecycle_wording, wording
from services.dashboard.elements import Chart, Facts, Table, Text, box, button, link, section
from services.dashboard.frame import Crumb, Live, loop_frame
from services.dashboard.gateway import GatewayClient, Lifecycle, RunView
from services.dashboard.pages.acting import told
from services.dashboard.paths import loop_path
from services.dashboard.site import Site


async def show_all(site: Site, key: str, loop_id: str) -> None:
    """Builds the list and keeps it current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Training") as place:
        with box("div", "title"):
            Text("h1", "Training runs")
            fine_tune = button("Fine-tune now", "primary")
            fine_tune.props["title"] = "Trains a new model version on all experiences so far"
        with section("Training runs", "Each fine-tunes the deep model on the experiences so far.").body:
            runs = Table("Training runs", lifecycle_tables.RUNS, "None yet.")

        def show(found: Lifecycle) -> None:
            runs.show(lifecycle_tables.run_rows(loop_id, found.training_runs))

        live = Live(lambda: client.read_training_runs(loop_id), show, place, site.now)

        async def ask() -> None:
            queued = "Training run queued. It learns from all experiences so far."
            await told(client.fine_tune(loop_id), queued, "No training run was asked for.")
            await live.refresh()

        fine_tune.on("click", ask)
        await live.start(site.settings.dashboard_refresh)


async def show_one(site: Site, key: str, loop_id: str, training_run_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    here = loop_path(loop_id, "training-runs", training_run_id)
    with loop_frame(loop_id, "Training", Crumb(training_run_id[-8:], here)) as place:
        page = _RunPage(loop_id)
        live = Live(lambda: client.read_training_run(loop_id, training_run_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _RunPage:
    """What is known of one run. While it goes on its loss is drawn as it is read; its version tells it all."""

    def __init__(self, loop_id: str) -> None:
        self._loop_id = loop_id
        self._seen: dict[int, float] = {}
        Text("h1", "Training run")
        self._when = Text("p", "", "note")
        self._facts = Facts(
            {
                "Status": "queued, running, succeeded, failed or skipped",
                "Progress": "of reading, fine-tuning and judging",
                "Steps": "of gradient descent",
                "Loss": "of the last step, or of the last few",
            }
        )
        self._progress = box("progress", "progress")
        self._progress.props.update({"max": 1, "aria-label": "Progress"})
        self._outcome = Text("p", "")
        with section("Loss and learning rate").body:
            self._curve = Chart()
            self._note = Text("p", "", "note")
        self._version = link("", "")

    def show(self, view: RunView) -> None:
        run, version = view.run, view.version
        if run.loss is not None:
            self._seen[run.steps] = run.loss
        self._when.set_text(
            f"{lifecycle_wording.run_kind(run)} · requested {run.requested_at:%Y-%m-%d %H:%M:%S} UTC: "
            f"{lifecycle_wording.run_reason(run)}"
        )
        self._facts.show(
            {
                "Status": run.status,
                "Progress": wording.percent(run.progress),
                "Steps": wording.count(run.steps),
                "Loss": wording.NOTHING if run.loss is None else f"{run.loss:.4f}",
            }
        )
        self._progress.props["value"] = run.progress
        self._outcome.set_text(lifecycle_wording.run_detail(run))
        curve = () if version is None else version.training_curve
        self._curve.show(distributions.training_options(curve, sorted(self._seen.items())))
        self._note.set_text("" if curve else "Drawn as it goes on; the whole curve comes with the version.")
        self._version.set_visibility(run.model_version is not None)
        if run.model_version is not None:
            self._version.set_text(f"Model version {run.model_version}")
            self._version.props["href"] = loop_path(self._loop_id, "models", run.model_version)
