"""What every page has around its content: header, way back, banner; and the reading that keeps it current."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from nicegui import ui

from services.dashboard import session
from services.dashboard.elements import Text, box, button, link
from services.dashboard.gateway import GatewayAwayError, GatewayError, KeyRefusedError

LOGO: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path fill="none" stroke="currentColor" stroke-width="2.4" '
    'stroke-linecap="round" d="M19.5 12a7.5 7.5 0 1 1-2.6-5.7"/><circle cx="19" cy="6.2" r="2.6" fill="currentColor"/>'
    "</svg>"
)

Shown = TypeVar("Shown")
LocalClock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Crumb:
    """A step of the way from the overview to this page."""

    text: str
    href: str


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
def frame(crumbs: Sequence[Crumb] = ()) -> Iterator[Place]:
    """Header and banner; what is made inside is the content of the page."""
    link("Skip to content", "#content", "skip")
    with box("header", "header"):
        with box("a", "brand") as brand:
            brand.props["href"] = "/"
            ui.html(LOGO, sanitize=False, tag="span")
            Text("span", "Rewardloop")
        with box("nav", "crumbs") as trail:
            trail.props["aria-label"] = "Breadcrumbs"
            for crumb in crumbs:
                Text("span", "/", "slash").props["aria-hidden"] = "true"
                link(crumb.text, crumb.href)
        button("Sign out", "quiet").on("click", _leave)
    place = Place()
    with place.content:
        yield place


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
