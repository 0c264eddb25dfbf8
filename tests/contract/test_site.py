"""The documentation's site, as `make docs` builds it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy.site.pages import PROCESSES
from deploy.site.settings_fields import fields
from shared.loop_settings import LoopSettings
from shared.settings import PlatformSettings
from tests.unit.services.gateway.conftest import empty_database, make_gateway
from tests.unit.services.gateway.fakes import Gateway

__all__ = ["empty_database", "make_gateway"]

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself, as opposed to what a reader may click.
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Fetched(HTMLParser):
    """The addresses that a page has its reader's browser ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if FETCHED.get(tag) == name and value]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert [one for one in parser.addresses if re.match(r"(\w+:)?//", one)] == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']+", style.read_text()) == [], style.name


def test_the_references_hold_every_setting(site: Path) -> None:
    loop = (site / "reference" / "loop-settings.html").read_text()
    assert [field.path for field in fields(LoopSettings) if f"<code>{field.path}</code>" not in loop] == []
    processes = (site / "reference" / "process-settings.html").read_text()
    for model in (PlatformSettings, *PROCESSES.values()):
        told = {f"REWARDLOOP_{field.path.upper()}" for field in fields(model)}
        assert [name for name in told if f"<code>{name}</code>" not in processes] == [], model.__name__


async def test_the_reference_of_the_api_is_what_the_gateway_says_of_itself(
    site: Path, make_gateway: Callable[..., Gateway]
) -> None:
    async with make_gateway().client() as http:
        told = (await http.get("/openapi.json")).json()
    assert json.loads((site / "reference" / "openapi.json").read_text()) == told


@pytest.mark.parametrize("model", [PlatformSettings, *PROCESSES.values()], ids=lambda model: model.__name__)
def test_every_setting_of_a_process_says_what_it_does(model: type[PlatformSettings]) -> None:
    assert [field.path for field in fields(model) if not field.meaning] == []
