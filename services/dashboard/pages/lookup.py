"""What a `decide` key is shown: one decision at a time, by its id."""

from nicegui import ui

from services.dashboard.elements import Entry, Text, box, button, fieldset
from services.dashboard.frame import frame
from services.dashboard.paths import decision_path


def show() -> None:
    """Builds the page."""
    with frame() as place:
        Text("h1", "Look up a decision")
        Text("p", "A decide key reads single decisions; all else takes a manage key.", "note")
        with box("section", "card"), fieldset():
            loop_id, decision_id = Entry("Loop"), Entry("Decision id")

            def go() -> None:
                if loop_id.value and decision_id.value:
                    ui.navigate.to(decision_path(loop_id.value.strip(), decision_id.value.strip()))

            button("Look up", "primary").on("click", go)
        place.show()
