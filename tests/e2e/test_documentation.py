"""Every block of Python or bash in the README and in docs/ runs, in its page's order, against a platform."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rewardloop import Rewardloop
from tests.e2e.conftest import KEY, Platform, running

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Where the pages say that the platform is.
TOLD_URL = "http://127.0.0.1:8000"
# Blocks that are not run: page, the beginning of the block, and why. Now there are none.
SKIPPED: dict[tuple[str, str], str] = {}


def blocks(page: Path) -> Iterator[Token]:
    """The page's fenced blocks of either kind."""
    for token in MarkdownIt().parse(page.read_text()):
        language = token.info.split()[0] if token.info else ""
        if token.type == "fence" and language in ("python", "bash") and not _is_skipped(page, token.content):
            yield token


def _is_skipped(page: Path, content: str) -> bool:
    return any(page.name == name and content.startswith(start) for name, start in SKIPPED)


def test_the_list_of_what_is_not_run_names_what_is_there() -> None:
    for name, start in SKIPPED:
        assert any(page.name == name and start in page.read_text() for page in PAGES)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Of its own: pages name their loops as readers would, and so may tests."""
    with running(tmp_path_factory.mktemp("documented") / "state", 180) as platform:
        yield platform


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page))], ids=lambda page: page.stem)
def test_what_a_page_shows_works(
    page: Path, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "bootstrap.key").write_text(KEY + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REWARDLOOP_KEY", KEY)
    names: dict[str, object] = {}
    for block in blocks(page):
        source = block.content.replace(TOLD_URL, platform.url)
        place = block.map[0] + 1 if block.map else 0
        if block.info.startswith("bash"):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", source], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{page.name}:{place}: {done.stdout}{done.stderr}"
        else:
            # Blank lines before it, so that a traceback names the page's own line.
            exec(compile("\n" * place + source, str(page), "exec"), names)
    for client in names.values():
        if isinstance(client, httpx.Client | Rewardloop):
            client.close()
