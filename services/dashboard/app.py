"""The dashboard as a web application: routes to pages, who may open them, and what browsers are told to allow."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import nicegui
from fastapi import FastAPI, Form, Request, Response
from nicegui import ui
from nicegui.storage import Storage
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dashboard import session
from services.dashboard.calling import GatewayError
from services.dashboard.elements import Text, box, link
from services.dashboard.gateway import GatewayClient
from services.dashboard.pages import (
    actions,
    decision,
    evaluations,
    fairness,
    importing,
    joiner,
    lookup,
    loop,
    modalities,
    overview,
    rollouts,
    sign_in,
    training,
    versions,
)
from services.dashboard.site import Site

STYLE: Final = Path(__file__).parent / "style.css"
ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="none" stroke="#5b63d3" stroke-width="2.6" '
    'stroke-linecap="round" d="M19.5 12a7.5 7.5 0 1 1-2.6-5.7"/><circle cx="19" cy="6.2" r="2.8" fill="#5b63d3"/></svg>'
)
LoopPage = Callable[[Site, str, str], Awaitable[None]]
OnePage = Callable[[Site, str, str, str], Awaitable[None]]
# The pages of a loop by where they stand below it, with what their titles begin with.
LOOP_PAGES: Final[dict[str, tuple[str, LoopPage]]] = {
    "": ("", loop.show),
    "/actions": ("Actions · ", actions.show),
    "/modalities": ("Modalities · ", modalities.show),
    "/fairness": ("Fairness · ", fairness.show),
    "/joiner": ("Joiner · ", joiner.show),
    "/training-runs": ("Training · ", training.show_all),
    "/models": ("Versions · ", versions.show_all),
    "/evaluations": ("Evaluations · ", evaluations.show_all),
    "/import": ("Import · ", importing.show),
}
# Of one thing of a loop's, by the name of its list.
ONE_PAGES: Final[dict[str, tuple[str, OnePage]]] = {
    "decisions": ("Decision · ", decision.show),
    "training-runs": ("Training run · ", training.show_one),
    "rollouts": ("Rollout · ", rollouts.show_one),
    "evaluations": ("Evaluation · ", evaluations.show_one),
}
HEADERS: Final = {
    # NiceGUI's pages hold their script, and Vue compiles templates in the browser.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src data:; font-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(site: Site) -> FastAPI:
    """The application; NiceGUI keeps one a process, so call it once."""
    settings = site.settings
    session.prepare_sessions(settings.session_folder, site.now().timestamp())
    Storage.path = settings.session_folder.resolve()
    nicegui.app.add_middleware(session.SignInGate)
    nicegui.app.on_page_exception(_show_broken)
    _add_pages(site)
    ui.add_head_html(f"<style>{STYLE.read_text(encoding='utf-8')}</style>", shared=True)
    app = FastAPI(openapi_url=None)
    ui.run_with(
        app,
        title="Rewardloop",
        favicon=ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=10,
        show_welcome_message=False,
        storage_secret=session.read_secret(settings.secret_file),
        session_middleware_kwargs={"max_age": session.SESSION_SECONDS, "same_site": "strict"},
    )
    app.add_middleware(_SafeHeaders)
    # Other sites' names that resolve to this machine do not reach the pages.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return app


def _add_pages(site: Site) -> None:
    # A page is built from its first reading; one that takes longer is shown as the gateway being away.
    patience = site.settings.gateway_timeout + 5

    @ui.page(session.SIGN_IN, title="Sign in · Rewardloop")
    def sign_in_page(wanted: str = "/", problem: str = "") -> Response | None:
        if session.current_key() is not None:
            return RedirectResponse(session.local_path(wanted), status_code=303)
        sign_in.show(wanted, problem)
        return None

    @nicegui.app.post(session.SIGN_IN)
    async def take_key(key: Annotated[str, Form()] = "", wanted: Annotated[str, Form()] = "/") -> Response:
        problem = await sign_in.sign_in(site, key.strip())
        if problem is not None:
            return RedirectResponse(session.sign_in_address(wanted, problem), status_code=303)
        return RedirectResponse(session.local_path(wanted), status_code=303)

    @ui.page("/", title="Loops · Rewardloop", response_timeout=patience)
    async def overview_page() -> None:
        if session.may_manage():
            await overview.show(site, _key())
        else:
            lookup.show()

    for below, (name, page) in LOOP_PAGES.items():
        _add_loop_page(site, below, name, page, patience)
    for things, (name, one_page) in ONE_PAGES.items():
        _add_one_page(site, things, name, one_page, patience)

    @ui.page("/loops/{loop_id}/rollouts", response_timeout=patience)
    async def rollouts_page(loop_id: str, version: str = "") -> None:
        ui.page_title(f"Rollouts · {loop_id} · Rewardloop")
        await rollouts.show_all(site, _key(), loop_id, version)

    @ui.page("/loops/{loop_id}/models/{version}", response_timeout=patience)
    async def version_page(loop_id: str, version: str, against: str | None = None) -> None:
        ui.page_title(f"Version {version} · {loop_id} · Rewardloop")
        await versions.show_one(site, _key(), loop_id, version, against)

    @nicegui.app.post("/loops/{loop_id}/import")
    async def take_log(request: Request, loop_id: str) -> Response:
        """The file's lines go on to the gateway as they come: nothing is kept here."""
        line_format = request.query_params.get("format", "rows")
        try:
            report = await GatewayClient(site.http, _key()).import_log(loop_id, line_format, request.stream())
        except GatewayError as error:
            return JSONResponse({"problem": str(error)}, status_code=502)
        return Response(report.model_dump_json(), media_type="application/json")

    @ui.page("/{path:path}", title="Not found · Rewardloop")
    def nothing_here(path: str) -> None:
        ui.context.client.status_code = 404
        _show_message("Nothing here", "There is no page at this address.")


def _add_loop_page(site: Site, below: str, name: str, show: LoopPage, patience: float) -> None:
    @ui.page(f"/loops/{{loop_id}}{below}", response_timeout=patience)
    async def page(loop_id: str) -> None:
        ui.page_title(f"{name}{loop_id} · Rewardloop")
        await show(site, _key(), loop_id)


def _add_one_page(site: Site, things: str, name: str, show: OnePage, patience: float) -> None:
    @ui.page(f"/loops/{{loop_id}}/{things}/{{one}}", response_timeout=patience)
    async def page(loop_id: str, one: str) -> None:
        ui.page_title(f"{name}{loop_id} · Rewardloop")
        await show(site, _key(), loop_id, one)


def _key() -> str:
    """The key of who is signed in; the gateway refuses the empty one of who has just signed out elsewhere."""
    return session.current_key() or ""


def _show_broken() -> None:
    _show_message("This page broke", "What went wrong is in the dashboard's log.")


def _show_message(title: str, text: str) -> None:
    with box("div", "sign-in"), box("div", "card"):
        Text("h1", title)
        Text("p", text)
        link("All loops", "/")


class _SafeHeaders:
    """Sets headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
