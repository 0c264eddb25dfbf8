"""The dashboard in a real Chromium, in front of the whole platform: every page, with the data of a real run."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e import gallery, product
from tests.e2e.browsing import Scheme, Visitor, check_page
from tests.e2e.conftest import KEY, Platform, until

LOOP_PAGE = f"/loops/{gallery.LOOP}"
DECISIONS = 60

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(http: httpx.Client) -> list[str]:
    """The addresses of all pages there are, of a loop that has something to show on each."""
    gallery.fill(http, DECISIONS)
    below = ["", "actions", "modalities", "fairness", "joiner", "training-runs", "models", "rollouts", "evaluations"]
    lists = {
        "decisions": "decision_id",
        "training-runs": "training_run_id",
        "evaluations": "evaluation_id",
    }
    ones = [f"{name}/{gallery.items(http, name)[0][member]}" for name, member in lists.items()]
    paths = [*below, "import", *ones, "models/2", "models/2?against=1"]
    return ["/", *(f"{LOOP_PAGE}/{path}".rstrip("/") for path in paths)]


@pytest.fixture
def visitor(browser: Browser, shared_platform: Platform) -> Iterator[Visitor]:
    visitor = visitor_of(browser, shared_platform)
    yield visitor
    visitor.close()
    assert (visitor.errors, visitor.foreign()) == ([], [])


def visitor_of(browser: Browser, platform: Platform, width: int = 1280, scheme: Scheme = "light") -> Visitor:
    return Visitor(browser, f"http://127.0.0.1:{platform.dashboard_port}", width, scheme)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_its_window_and_can_be_used_by_all(
    browser: Browser, shared_platform: Platform, pages: list[str], width: int, scheme: Scheme
) -> None:
    visitor = visitor_of(browser, shared_platform, width, scheme)
    page = visitor.sign_in(KEY)
    for path in pages:
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        check_page(page, width, scheme)
    visitor.close()
    assert (visitor.errors, visitor.foreign()) == ([], [])


def test_a_loop_shows_what_it_has_gathered(visitor: Visitor, pages: list[str]) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    for counter in ("Decisions", "Feedback", "Experiences"):
        expect(page.locator("body")).to_contain_text(re.compile(rf"{counter}\s*{gallery.APPLAUDED + DECISIONS}(?!\d)"))
    expect(page.locator(".curve")).to_contain_text("uniform policy")
    expect(page.get_by_text(re.compile("By off-policy evaluation.*baseline policy"))).to_be_visible()
    page.get_by_role("link", name="Modalities").click()
    importance = page.get_by_role("table", name="Modality importance")
    expect(importance.get_by_role("row", name=re.compile("^title"))).to_contain_text(re.compile(r"[12]\d %$"))
    page.get_by_role("link", name="Fairness").click()
    expect(page.get_by_role("table", name="Segments of visitor.country").get_by_role("row")).to_have_count(4)


def test_a_decision_plays_what_came_in(visitor: Visitor, pages: list[str]) -> None:
    page = visitor.sign_in(KEY, next(path for path in pages if "/decisions/" in path))
    picture = page.get_by_role("img", name="The picture in photo")
    until(lambda: picture.evaluate("image => image.naturalWidth") == 8, "the picture is shown")
    for name, seconds in (("The sound in sound", 0.1), ("The clip in clip", 0.8)):
        media = page.get_by_label(name)
        until(lambda media=media: media.evaluate("one => one.readyState") >= 1, f"{name} can be played")  # type: ignore[misc]
        assert media.evaluate("one => one.duration") == pytest.approx(seconds, abs=0.11)
    expect(page.get_by_role("table", name="What it weighed").get_by_role("row")).to_have_count(6)


def test_a_log_comes_in_and_is_evaluated_by_form(visitor: Visitor, pages: list[str], http: httpx.Client) -> None:
    lines = b"".join(
        b'{"decision_id": "old-%d", "context": {}, "action_id": "moin", "probability": 0.5, "reward": 1}\n' % number
        for number in range(40)
    )
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/import")
    page.locator("input[type=file]").set_input_files(
        {"name": "log.ndjson", "mimeType": "application/json", "buffer": lines + b"{}\n"}
    )
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("table", name="Skipped lines").get_by_role("row")).to_have_count(2)
    expect(page.locator("dl", has_text="Accepted")).to_contain_text("Accepted40")
    product.wait_for_experiences(http, gallery.LOOP, gallery.APPLAUDED + DECISIONS + 40)
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_role("combobox", name="Policy").select_option("constant")
    page.get_by_role("combobox", name="Action").select_option("moin")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Evaluation of always moin")
    expect(page.get_by_role("table", name="Estimates")).to_contain_text("DR: doubly robust", timeout=120_000)
    expect(page.locator(".counters")).to_contain_text("succeeded")


def test_a_fine_tune_is_watched_and_leaves_its_curves(visitor: Visitor, pages: list[str]) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/training-runs")
    page.get_by_role("button", name="Fine-tune now").click()
    newest = page.get_by_role("table", name="Training runs").get_by_role("row").nth(1)
    expect(newest).to_contain_text(re.compile("queued|running"))
    newest.get_by_role("link").click()
    expect(page.locator(".counters")).to_contain_text(re.compile("Status(succeeded|skipped)"), timeout=180_000)
    expect(page.locator(".curve")).to_have_attribute("aria-label", re.compile(r"over \d+ steps: the loss went from"))
    expect(page.get_by_role("link", name="Model version 3")).to_be_visible()
