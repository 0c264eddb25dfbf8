"""The sign-in page: a key of the gateway's is all that it takes.

A plain form: it works before the page's socket is open, and with what a password manager fills in.
"""

from typing import Final

from nicegui import ui

from services.dashboard import session
from services.dashboard.calling import GatewayError, KeyRefusedError
from services.dashboard.elements import Text, box, button
from services.dashboard.frame import LOGO
from services.dashboard.gateway import GatewayClient
from services.dashboard.site import Site

PROBLEMS: Final = {
    "empty": "Type or paste a key first.",
    "unknown": "The gateway does not know this key.",
    "role": "A feedback key reads nothing, so there is nothing to show: it takes a manage key, or a decide key.",
    "away": "The gateway does not answer. Try again when it is up.",
    session.REFUSED: "This key is no longer taken. Sign in again.",
}


def show(wanted: str, problem: str) -> None:
    """Builds the page; `problem` names what went wrong before, if anything did."""
    with box("div", "sign-in"), box("form", "card") as form:
        form.props.update({"method": "post", "action": session.SIGN_IN})
        with box("div", "brand"):
            ui.html(LOGO, sanitize=False, tag="span")
            Text("h1", "Rewardloop")
        Text("p", "Sign in with an API key of your platform.", "note")
        with box("label", "field"):
            Text("span", "API key")
            field = box("input")
            field.props.update({"name": "key", "type": "password", "autocomplete": "current-password"})
            field.props.update({"autofocus": True, "required": True, "spellcheck": "false"})
        box("input").props.update({"name": "wanted", "type": "hidden", "value": session.local_path(wanted)})
        if problem in PROBLEMS:
            Text("p", PROBLEMS[problem], "error").props["role"] = "alert"
        button("Sign in", "primary").props["type"] = "submit"
        Text("p", "The first manage key stands in the platform's state folder, for example:", "note")
        Text("pre", "cat var/bootstrap.key")


async def sign_in(site: Site, key: str) -> str | None:
    """Signs a key in that the gateway takes and that may read something; else the name of what is wrong with it."""
    if not key:
        return "empty"
    if not (key.isascii() and key.isprintable()):
        return "unknown"
    try:
        role = (await GatewayClient(site.http, key).read_key()).role
    except KeyRefusedError:
        return "unknown"
    except GatewayError:
        return "away"
    if role == "feedback":
        return "role"
    session.sign_in(key, role)
    return None
