"""The few building blocks that pages share, beyond NiceGUI's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments

Row = dict[str, object]


class Text(TextElement):
    """An element of any tag whose text can change: `set_text`."""

    def __init__(self, tag: str, text: str = "", classes: str = "") -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)


def box(tag: str, classes: str = "") -> ui.element:
    """A plain element that holds others."""
    return ui.element(tag).classes(classes)


def link(text: str, href: str, classes: str = "") -> Text:
    element = Text("a", text, classes)
    element.props["href"] = href
    return element


def button(text: str, classes: str = "") -> Text:
    """A native button: it takes part in the keyboard's order by itself."""
    element = Text("button", text, f"button {classes}")
    element.props["type"] = "button"
    return element


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a page; `body` holds its content."""

    body: ui.element
    note: Text


def section(title: str, note: str = "") -> Section:
    """A card with a heading and one line below it that says what stands here."""
    with box("section", "card") as card:
        card.props["aria-label"] = title
        with box("div", "card-head"):
            Text("h2", title)
            line = Text("p", note, "note")
        return Section(box("div", "card-body"), line)


def code_block(code: str) -> None:
    """Commands to copy."""
    with box("div", "code"):
        block = Text("pre", code)
        block.props["tabindex"] = "0"
        copy = button("Copy", "small")

        def write() -> None:
            ui.clipboard.write(code)
            copy.set_text("Copied")

        copy.on("click", write)


class Facts:
    """Small cards, each a name, a value that can change, and a line that says what it is."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._values: dict[str, Text] = {}
        with box("dl", "counters"):
            for name, meaning in facts.items():
                with box("div", "card"):
                    Text("dt", name)
                    self._values[name] = Text("dd", "—")
                    Text("dd", meaning, "note")

    def show(self, values: Mapping[str, str]) -> None:
        """By name; those that are not named stay."""
        for name, value in values.items():
            self._values[name].set_text(value)


def fieldset() -> ui.element:
    """What holds fields and their button; it takes input as soon as the server listens.

    NiceGUI holds back what happens before its handshake, and a click right after it overtakes what was held back: the
    server would see the click without the values.
    """
    fields = box("fieldset", "form")
    fields.props["disabled"] = True

    def enable() -> None:
        fields.props.pop("disabled", None)
        fields.update()

    ui.context.client.on_connect(enable)
    return fields


class Entry:
    """A labelled field of a form; `value` is what stands in it, `place` the element that holds both."""

    def __init__(self, label: str, value: str = "", kind: str = "text", hint: str = "", **props: object) -> None:
        self.value = value
        with box("label", "field") as self.place:
            Text("span", label)
            field = box("textarea" if kind == "textarea" else "input")
            field.props.update({"value": value, "spellcheck": "false", "autocomplete": "off", **props})
            if kind != "textarea":
                field.props["type"] = kind
            if hint:
                Text("span", hint, "note")
        # Vue writes the property back whenever anything on the page changes: it has to be what was typed.
        handler = "event => { element.props.value = event.target.value; emit(event.target.value) }"
        field.on("input", self._take, js_handler=handler)

    def _take(self, event: GenericEventArguments) -> None:
        self.value = str(event.args)


class Choice:
    """A labelled choice among named values; `value` is the chosen one's, `place` the element that holds both."""

    def __init__(self, label: str, options: Mapping[str, str], value: str = "", hint: str = "") -> None:
        with box("label", "field") as self.place:
            Text("span", label)
            self._select = box("select")
            if hint:
                Text("span", hint, "note")
        self.value = ""
        self._options: Mapping[str, str] = {}
        self.offer(options, value)
        self._select.on("change", self._take, js_handler="event => emit(event.target.value)")

    def offer(self, options: Mapping[str, str], value: str = "") -> None:
        """Values with their names; the chosen one stays where it is still offered."""
        if options == self._options:
            return
        self._options = dict(options)
        if self.value not in options:
            self.value = value if value in options else next(iter(options), "")
        self._select.clear()
        with self._select:
            for one, name in options.items():
                option = Text("option", name)
                option.props["value"] = one
                if one == self.value:
                    option.props["selected"] = True

    def on_change(self, then: Callable[[], None]) -> None:
        """What follows once another one is chosen."""
        self._select.on("change", then)

    def _take(self, event: GenericEventArguments) -> None:
        self.value = str(event.args)


class Upload(ui.element, component="upload.js"):
    """A form that sends one file's bytes to an address, and tells how far it is; `done` brings the answer's text."""

    def __init__(self, address: str, formats: Mapping[str, str]) -> None:
        super().__init__()
        self.props.update({"address": address, "formats": dict(formats)})


class Chart(ui.echart):
    """A chart that changes in place."""

    def __init__(self, classes: str = "curve") -> None:
        super().__init__({}, renderer="svg")
        self.classes(classes)

    def show(self, options: Mapping[str, object]) -> None:
        set_props(self, {"options": options})


async def confirm(question: str, consequence: str, verb: str) -> bool:
    """Whether a person says yes; Escape and Cancel say no."""
    with ui.dialog() as dialog, box("div", "card dialog"):
        dialog.props["aria-label"] = question
        Text("h2", question)
        Text("p", consequence)
        with box("div", "buttons"):
            button("Cancel").on("click", lambda: dialog.submit(False))
            button(verb, "primary").on("click", lambda: dialog.submit(True))
    answer = await dialog
    dialog.delete()
    return bool(answer)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: which member of a row it shows, and as what (see table.js).

    A `wide` column is left out where the page is narrow; `mark` names a member that is shown as a mark beside
    it, `share` the one that holds the width of a bar.
    """

    name: str
    label: str
    kind: Literal["text", "link", "time", "linked_time", "version", "linked_version", "status", "bar", "interval"] = (
        "text"
    )
    wide: bool = False
    hint: str = ""
    mark: str = ""
    share: str = "share"


class Table(ui.element, component="table.js"):
    """Rows that change in place, told apart by their member `key`; `empty` stands there while there are none."""

    def __init__(self, label: str, columns: Sequence[Column], empty: str) -> None:
        super().__init__()
        definitions = [asdict(column) for column in columns]
        self.props.update({"label": label, "columns": definitions, "rows": [], "empty": empty})

    def show(self, rows: Sequence[Row]) -> None:
        set_props(self, {"rows": list(rows)})


def set_props(element: ui.element, values: Mapping[str, object]) -> None:
    """Changes properties, and tells the browser only if one is new."""
    if any(element.props.get(name) != value for name, value in values.items()):
        element.props.update(values)
