"""The dashboard as a process, and somebody who looks at it in a browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import free_port, until

REFRESH = 0.2
# The supervisor kills what has not ended by then.
STOP_SECONDS = 6
Scheme = Literal["light", "dark"]
# A busy machine is slow, not wrong.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
STICKS_OUT = """[...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > innerWidth)
    .map(one => one.outerHTML.slice(0, 200))"""
# Of axe: what keeps somebody from using a page, or makes it hard.
SERIOUS = ("serious", "critical")


@dataclass
class Dashboard:
    """`python -m services.dashboard` as a child process."""

    home: Path
    gateway_port: int
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "dashboard.log"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process, from its first answer on; told to end at the end."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "REWARDLOOP_HOME": str(self.home),
            "REWARDLOOP_GATEWAY_URL": f"http://127.0.0.1:{self.gateway_port}",
            "REWARDLOOP_DASHBOARD_PORT": str(self.port),
            "REWARDLOOP_DASHBOARD_REFRESH": str(REFRESH),
        }
        command = [sys.executable, "-m", "services.dashboard"]
        with self.log.open("ab") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
            try:
                until(lambda: process.poll() is not None or self._answers(), "the dashboard answers", 180)
                assert process.poll() is None, self.log.read_text()
                yield process
                process.terminate()
                process.wait(STOP_SECONDS)
            finally:
                process.kill()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/sign-in").is_success
        except httpx.TransportError:
            return False


class Visitor:
    """Somebody at a browser window of their own; hosts and errors that it sees are kept."""

    def __init__(self, browser: Browser, url: str, width: int = 1280, scheme: Scheme = "light") -> None:
        self.url = url
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._context = browser.new_context(
            base_url=url, viewport={"width": width, "height": 800}, color_scheme=scheme, timezone_id="UTC"
        )
        self._context.set_default_timeout(PATIENCE)
        self.page: Page = self._context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda opened: self.requests.append(opened.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)

    def sign_in(self, key: str, path: str = "/") -> Page:
        self.page.goto(path)
        self.page.get_by_label("API key").fill(key)
        self.page.keyboard.press("Enter")
        expect(self.page).to_have_url(self.url + path)
        # What is clicked before the page's socket is open goes nowhere.
        self.page.wait_for_function("window.did_handshake")
        return self.page

    def foreign(self) -> list[str]:
        local = self.url.removeprefix("http")
        return [url for url in self.requests if not re.match(rf"(http|ws){re.escape(local)}/|data:", url)]

    def close(self) -> None:
        self._context.close()


def check_page(page: Page, width: int, scheme: Scheme) -> None:
    """A page fits its window, has the colours that are asked for, and axe finds no serious violation."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url}: {page.evaluate(STICKS_OUT)}"
    colours = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    text, back = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (text < back) == (scheme == "light")
    violations = Axe().run(page).response["violations"]
    serious = [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations if one["impact"] in SERIOUS]
    assert serious == [], f"{page.url}: {serious}"
