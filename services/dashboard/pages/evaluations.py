"""A loop's off-policy evaluations, and a form that asks for one; one of them with what it found."""

import json
from datetime import UTC, datetime

from nicegui import ui

from services.dashboard import lifecycle_tables, lifecycle_wording, wording
from services.dashboard.answers import Loop
from services.dashboard.calling import GatewayError
from services.dashboard.elements import Choice, Entry, Facts, Table, Text, box, button, fieldset, section
from services.dashboard.frame import Crumb, Live, loop_frame
from services.dashboard.gateway import GatewayClient, Lifecycle
from services.dashboard.lifecycle_answers import Evaluation
from services.dashboard.paths import loop_path
from services.dashboard.site import Site

TARGETS = {
    "uniform": "the uniform policy",
    "baseline": "the baseline policy",
    "model_version": "a model version",
    "constant": "always the same action",
    "table": "a table of probabilities",
}
TABLE_HINT = 'By action, summing to one: {"a": 0.2, "b": 0.8}'


class FormError(ValueError):
    """What stands in the form is not what it asks for; the text tells people why."""


async def show_all(site: Site, key: str, loop_id: str) -> None:
    """Builds the list and the form, and keeps the list current."""
    client = GatewayClient(site.http, key)
    with loop_frame(loop_id, "Evaluations") as place:
        Text("h1", "Evaluations")
        Text("p", "What a policy would have earned on the decisions that were logged.", "note")
        with section("Evaluations", "Newest first; choose one for all its estimators and warnings.").body:
            evaluations = Table("Evaluations", lifecycle_tables.EVALUATIONS, "None yet.")
        form = _RequestForm(client, loop_id)

        def show(found: Lifecycle) -> None:
            evaluations.show(lifecycle_tables.evaluation_rows(found.loop, found.evaluations))
            form.show(found)

        live = Live(lambda: client.read_evaluations(loop_id), show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _RequestForm:
    """What is evaluated, and on which decisions."""

    def __init__(self, client: GatewayClient, loop_id: str) -> None:
        self._client, self._loop_id = client, loop_id
        asked = section("Evaluate a policy", "On all matured decisions with a known propensity.")
        with asked.body, fieldset():
            self._target = Choice("Policy", TARGETS)
            self._version = Choice("Model version", {})
            self._action = Choice("Action", {})
            self._since = Entry("Decided since (UTC)", kind="datetime-local")
            self._until = Entry("Decided before (UTC)", kind="datetime-local")
            self._clip = Entry("Clip", kind="number", min=0, hint="No row weighs more; empty: none is cut.")
            self._table = Entry("Table", kind="textarea", rows=3, hint=TABLE_HINT)
            button("Evaluate", "primary").on("click", self._ask)

        self._target.on_change(self._arrange)
        self._arrange()

    def _arrange(self) -> None:
        """Each kind of policy has a field of its own, or none."""
        fields: dict[str, Entry | Choice] = {
            "model_version": self._version,
            "constant": self._action,
            "table": self._table,
        }
        for kind, field in fields.items():
            field.place.set_visibility(kind == self._target.value)

    def show(self, found: Lifecycle) -> None:
        self._version.offer({one.version: wording.version(one.version) for one in found.versions})
        self._action.offer({action.id: action.id for action in found.loop.actions})

    async def _ask(self) -> None:
        try:
            evaluation = await self._client.evaluate(self._loop_id, self._body())
        except (FormError, GatewayError) as error:
            ui.notify(f"Nothing was evaluated. {error}", type="negative")
        else:
            ui.navigate.to(loop_path(self._loop_id, "evaluations", evaluation.evaluation_id))

    def _body(self) -> dict[str, object]:
        body: dict[str, object] = {"target": self._asked_target()}
        edges = {"since": self._since.value, "until": self._until.value}
        window = {name: _moment(value) for name, value in edges.items() if value}
        if window:
            body["window"] = window
        if self._clip.value:
            body["clip"] = float(self._clip.value)
        return body

    def _asked_target(self) -> object:
        match self._target.value:
            case "model_version":
                return {"model_version": self._version.value}
            case "constant":
                return {"constant": self._action.value}
            case "table":
                return {"table": {"probabilities": _table(self._table.value)}}
            case name:
                return name


async def show_one(site: Site, key: str, loop_id: str, evaluation_id: str) -> None:
    """Builds the page and keeps it current."""
    client = GatewayClient(site.http, key)
    here = loop_path(loop_id, "evaluations", evaluation_id)
    with loop_frame(loop_id, "Evaluations", Crumb(evaluation_id[-8:], here)) as place:
        page = _EvaluationPage()
        live = Live(lambda: client.read_evaluation(loop_id, evaluation_id), page.show, place, site.now)
        await live.start(site.settings.dashboard_refresh)


class _EvaluationPage:
    """What is known of one evaluation."""

    def __init__(self) -> None:
        self._heading = Text("h1", "Evaluation")
        self._when = Text("p", "", "note")
        self._progress = box("progress", "progress")
        self._progress.props.update({"max": 1, "aria-label": "Progress"})
        self._facts = Facts(
            {
                "Status": "queued, running, succeeded or failed",
                "Value": "by the estimator that is told first",
                "Effective sample size": "below 100 nothing can be relied on",
                "Greatest weight": "of a single decision",
            }
        )
        self._verdict = Text("p", "")
        self._warnings = Text("p", "", "warning")
        with section("Estimates", "docs/evaluation.md says when to trust which.").body:
            self._estimates = Table("Estimates", lifecycle_tables.ESTIMATES, "They come with the result.")
        self._sample = Text("p", "", "note")

    def show(self, found: tuple[Loop, Evaluation]) -> None:
        loop, evaluation = found
        result, reward_range = evaluation.result, loop.reward.range
        self._heading.set_text(f"Evaluation of {lifecycle_wording.target(evaluation.target)}")
        self._when.set_text(
            f"requested {evaluation.requested_at:%Y-%m-%d %H:%M:%S} UTC · {lifecycle_wording.window(evaluation)}"
        )
        self._progress.props["value"] = evaluation.progress
        self._progress.set_visibility(result is None)
        self._facts.show(
            {
                "Status": evaluation.status,
                "Value": lifecycle_wording.evaluation_outcome(evaluation, reward_range),
                "Effective sample size": wording.NOTHING if result is None else f"{result.effective_sample_size:,.0f}",
                "Greatest weight": wording.NOTHING if result is None else f"{result.max_weight:.1f}",
            }
        )
        if result is not None:
            self._verdict.set_text(lifecycle_wording.VERDICTS[result.verdict])
            self._warnings.set_text(" ".join(result.warnings))
            self._estimates.show(lifecycle_tables.estimate_rows(result, reward_range))
            self._sample.set_text(lifecycle_wording.sample(result))


def _table(text: str) -> dict[str, object]:
    try:
        table = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormError(f"The table is not JSON: {error}. {TABLE_HINT}") from None
    if not isinstance(table, dict):
        raise FormError(TABLE_HINT)
    return table


def _moment(text: str) -> str:
    """What a field of a date and a time holds, as UTC."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat()
    except ValueError:
        raise FormError(f"{text} is no date with a time.") from None
