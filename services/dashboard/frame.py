"""What every page has around its content: header, way back, banner; and the reading that keeps it current."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from nicegui import ui

from services.dashboard import session
from services.dashboard.calling import GatewayAwayError, GatewayError, KeyRefusedError
from services.dashboard.elements import Text, box, button, link
from services.dashboard.paths import loop_path

LOGO: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path fill="none" stroke="currentColor" stroke-width="2.4" '
    'stroke-linecap="round" d="M19.5 12a7.5 7.5 0 1 1-2.6-5.7"/><circle cx="19" cy="6.2" r="2.6" fill="currentColor"/>'
    "</svg>"
)

# The pages of a loop: their names, and where they stand below it.
TABS: Final = {
    "Reward": (),
    "Actions": ("actions",),
    "Modalities": ("modalities",),
    "Fairness": ("fairness",),
    "Joiner": ("joiner",),
    "Training": ("training-runs",),
    "Versions": ("models",),
    "Rollouts": ("rollouts",),
    "Evaluations": ("evaluations",),
    "Import": ("import",),
}

Shown = TypeVar("Shown")
LocalClock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Crumb:
    """A step of the way from the overview to this page."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Tabs:
    """Of a loop, with the name of the one that the page is part of."""

    loop_id: str
    current: str


class Place:
    """Where the content of a page stands, and the banner above it that says what is wrong."""

    def __init__(self) -> None:
        self._banner = Text("div", "", "banner")
        self._banner.props["role"] = "status"
        self._banner.set_visibility(False)
        self.content = box("div", "main")
        self.content.props["id"] = "content"
        # Nothing is shown before there is something to show.
        self.content.set_visibility(False)

    def warn(self, text: str) -> None:
        self._banner.set_text(text)
        self._banner.set_visibility(True)

    def show(self) -> None:
        self._banner.set_visibility(False)
        self.content.set_visibility(True)


@contextmanager
def frame(crumbs: Sequence[Crumb] = (), tabs: Tabs | None = None) -> Iterator[Place]:
    """Header, the loop's tabs and banner; what is made inside is the content of the page."""
    link("Skip to content", "#content", "skip")
    with box("header", "header"):
        with box("a", "brand") as brand:
            # On a phone the word is not shown.
            brand.props.update({"href": "/", "aria-label": "Rewardloop: all loops"})
            ui.html(LOGO, sanitize=False, tag="span")
            Text("span", "Rewardloop")
        with box("nav", "crumbs") as trail:
            trail.props["aria-label"] = "Breadcrumbs"
            for crumb in crumbs:
                Text("span", "/", "slash").props["aria-hidden"] = "true"
                link(crumb.text, crumb.href)
        button("Sign out", "quiet").on("click", _leave)
    # They are for those who may read the loop.
    if tabs is not None and session.may_manage():
        _show_tabs(tabs)
    place = Place()
    with place.content:
        yield place


@contextmanager
def loop_frame(loop_id: str, tab: str, *crumbs: Crumb) -> Iterator[Place]:
    """The frame of a page of a loop."""
    with frame([Crumb(loop_id, loop_path(loop_id)), *crumbs], Tabs(loop_id, tab)) as place:
        yield place


def _show_tabs(tabs: Tabs) -> None:
    with box("nav", "tabs") as bar, box("div", "tabs-row"):
        bar.props["aria-label"] = f"Pages of {tabs.loop_id}"
        for name, parts in TABS.items():
            tab = link(name, loop_path(tabs.loop_id, *parts))
            if name == tabs.current:
                tab.props["aria-current"] = "page"


def _leave() -> None:
    session.sign_out()
    ui.navigate.to(session.SIGN_IN)


class Live(Generic[Shown]):
    """Keeps a page current: reads again and again, shows what came, and says so while nothing comes.

    What was shown stays while the gateway is away; the page recovers by itself.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Shown]],
        show: Callable[[Shown], None],
        place: Place,
        now: LocalClock,
    ) -> None:
        self._read = read
        self._show = show
        self._place = place
        self._now = now
        self._shown_at: datetime | None = None
        self._has_ended = False

    async def start(self, interval: float) -> None:
        """Reads and shows for the first time, then every `interval` seconds."""
        await self.refresh()
        ui.timer(interval, self.refresh, immediate=False)

    async def refresh(self) -> None:
        if self._has_ended:
            return
        if session.current_key() is None:
            self._end(session.SIGN_IN)
            return
        try:
            shown = await self._read()
        except KeyRefusedError:
            session.sign_out()
            self._end(session.sign_in_address(problem=session.REFUSED))
        except GatewayAwayError as error:
            self._place.warn(f"{error} {self._age()}")
        except GatewayError as error:
            self._place.warn(str(error))
        else:
            self._shown_at = self._now()
            self._show(shown)
            self._place.show()

    def _end(self, address: str) -> None:
        """Nobody is signed in any more: this page, or another one in the same browser, has signed out."""
        self._has_ended = True
        ui.navigate.to(address)

    def _age(self) -> str:
        asking = "This page goes on asking and recovers by itself."
        return asking if self._shown_at is None else f"What you see is from {self._shown_at:%H:%M:%S}. {asking}"
