"""The sign-in page: a key of the gateway's is all that it takes."""

from nicegui import ui

from services.dashboard import session
from services.dashboard.elements import Text, box, button
from services.dashboard.frame import LOGO
from services.dashboard.gateway import GatewayClient, GatewayError
from services.dashboard.site import Site


def show(site: Site, wanted: str, refused: bool) -> None:
    """Builds the page; `refused` says that the key of the last session is not taken any more."""
    with box("div", "sign-in"), box("form", "card") as form:
        with box("div", "brand"):
            ui.html(LOGO, sanitize=False, tag="span")
            Text("h1", "Rewardloop")
        Text("p", "Sign in with an API key of your platform.", "note")
        field = ui.input("API key", password=True, password_toggle_button=True).props("outlined dense autofocus")
        field.props["autocomplete"] = "current-password"
        message = Text("p", "This key is no longer taken. Sign in again." if refused else "", "error")
        message.props["role"] = "alert"
        button("Sign in", "primary").props["type"] = "submit"
        Text("p", "The first manage key was written to bootstrap.key in the platform's state folder:", "note")
        Text("pre", "cat var/bootstrap.key")

    async def submit() -> None:
        key = str(field.value or "").strip()
        text = await _refusal(site, key)
        if text is None:
            session.sign_in(key)
            ui.navigate.to(session.local_path(wanted))
        message.set_text(text or "")

    form.on("submit.prevent", submit)


async def _refusal(site: Site, key: str) -> str | None:
    """Why the gateway does not take a key; None where it does."""
    if not key or not key.isascii() or not key.isprintable():
        return "Type or paste a key first." if not key else "This is not a key: it holds characters that no key has."
    try:
        await GatewayClient(site.http, key).list_loops()
    except GatewayError as error:
        return str(error)
    return None
