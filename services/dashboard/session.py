"""Who is signed in: the key stays on this side, in the session that a signed cookie names."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from nicegui import app
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.dashboard.answers import Role

SIGN_IN: Final = "/sign-in"
# The problem that the sign-in page tells when the gateway took the key no more.
REFUSED: Final = "refused"
SESSION_SECONDS: Final = 7 * 24 * 3600
_KEY: Final = "key"
_ROLE: Final = "role"


def current_key() -> str | None:
    """The key that the person at this browser signed in with."""
    key = app.storage.user.get(_KEY)
    return key if isinstance(key, str) else None


def may_manage() -> bool:
    """Whether that key may read everything and change it; sessions older than roles are of keys that may."""
    return bool(app.storage.user.get(_ROLE, "manage") == "manage")


def sign_in(key: str, role: Role) -> None:
    app.storage.user.update({_KEY: key, _ROLE: role})


def sign_out() -> None:
    """Forgets the key, on the disk too."""
    app.storage.user.clear()


class SignInGate(BaseHTTPMiddleware):
    """Sends whoever is not signed in to the sign-in page; only that page and NiceGUI's own files are open to all."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        path = request.url.path
        # The page's files and its socket, which serves only pages that were handed out.
        if path == SIGN_IN or path.startswith("/_nicegui") or current_key() is not None:
            return await call_next(request)
        return RedirectResponse(sign_in_address(path), status_code=303)


def sign_in_address(wanted: str = "/", problem: str = "") -> str:
    """The address of the sign-in page that leads on to a path, and tells a problem by its name."""
    return f"{SIGN_IN}?{urlencode({'wanted': wanted} | ({'problem': problem} if problem else {}))}"


def local_path(wanted: str) -> str:
    """Where to go after signing in: a path of this site, never another site's address."""
    is_local = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if is_local else "/"


def read_secret(path: Path) -> str:
    """The secret that signs cookies; made where there is none yet, readable by this user only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # A temporary file has mode 0600; the link makes the secret appear whole or not at all.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text(encoding="ascii")


def prepare_sessions(folder: Path, now: float) -> None:
    """Makes the folder of the sessions, for this user alone, and removes those that have run out.

    `now` is in seconds since 1970.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    for file in folder.glob("storage-user-*.json"):
        if file.stat().st_mtime < now - SESSION_SECONDS:
            file.unlink()
