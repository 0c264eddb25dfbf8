"""The few building blocks that pages share, beyond NiceGUI's own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: which member of a row it shows, and as what (see table.js).

    A `wide` column is left out where the page is narrow; `mark` names a member that is shown as a mark beside it.
    """

    name: str
    label: str
    kind: Literal["text", "link", "time", "version", "status", "bar", "interval"] = "text"
    wide: bool = False
    hint: str = ""
    mark: str = ""


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
