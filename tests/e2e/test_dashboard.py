"""The dashboard in a real Chromium, in front of a gateway that answers from memory."""

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from playwright.sync_api import Browser, expect

from tests.e2e.browsing import Dashboard, Scheme, Visitor, check_page
from tests.e2e.conftest import free_port, until
from tests.unit.services.dashboard.fake_gateway import DECIDE_KEY, FEEDBACK_KEY, KEY, LOOP_ID, FakeGateway

pytestmark = pytest.mark.browser

MEMORY_MB = 150
LOOP_PAGE = f"/loops/{LOOP_ID}"
DECISION_PAGE = f"{LOOP_PAGE}/decisions/019ab000-0000-7000-8000-000000000701"


@pytest.fixture(scope="module")
def fake_server() -> Iterator[tuple[FakeGateway, int]]:
    """A fake gateway behind a real socket, and its port."""
    fake, port = FakeGateway(), free_port()
    server = uvicorn.Server(uvicorn.Config(fake.app(), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the fake gateway listens")
    yield fake, port
    server.should_exit = True
    thread.join()


@pytest.fixture
def fake(fake_server: tuple[FakeGateway, int]) -> FakeGateway:
    """The fake gateway as it is at the start of every test: seven hundred experiences, two takeovers."""
    fake, _ = fake_server
    vars(fake).update(vars(FakeGateway(experiences=700)))
    return fake


@pytest.fixture(scope="module")
def dashboard(fake_server: tuple[FakeGateway, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    dashboard = Dashboard(tmp_path_factory.mktemp("dashboard") / "state", fake_server[1])
    with dashboard.running():
        yield dashboard


@pytest.fixture
def visitor(browser: Browser, dashboard: Dashboard, fake: FakeGateway) -> Iterator[Visitor]:
    visitor = Visitor(browser, dashboard.url)
    yield visitor
    visitor.close()
    assert visitor.errors == []
    assert visitor.foreign() == []


def test_a_wrong_key_is_told_and_a_right_one_leads_where_one_wanted_to_go(visitor: Visitor) -> None:
    page = visitor.page
    page.goto(LOOP_PAGE)
    expect(page).to_have_url(re.compile("/sign-in"))
    for key, message in (
        ("  ", "Type or paste a key"),
        ("wrong", "does not know this key"),
        ("schlüssel", "does not know this key"),
        (FEEDBACK_KEY, "reads nothing"),
    ):
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text(message)
        expect(page.get_by_label("API key")).to_have_value("")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page).to_have_url(visitor.url + LOOP_PAGE)
    expect(page.get_by_role("heading", level=1)).to_have_text(LOOP_ID)


def test_the_key_stays_on_the_server(visitor: Visitor, dashboard: Dashboard) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    expect(page.get_by_role("table", name="Latest decisions")).to_be_visible()
    assert KEY not in page.content()
    assert KEY not in page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}])")
    assert not any(KEY in url for url in visitor.requests)
    assert KEY not in dashboard.log.read_text()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    sessions = list((dashboard.home / "dashboard").iterdir())
    assert sessions
    assert all(file.stat().st_mode & 0o077 == 0 for file in sessions)


def test_signing_out_forgets_the_key_in_every_tab(visitor: Visitor, dashboard: Dashboard) -> None:
    page = visitor.sign_in(KEY)
    other = page.context.new_page()
    other.goto(LOOP_PAGE)
    other.get_by_role("heading", level=1).wait_for()
    folder = dashboard.home / "dashboard"
    kept = {file.name for file in folder.iterdir()}
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    expect(other).to_have_url(re.compile("/sign-in"))
    until(lambda: len(kept - {file.name for file in folder.iterdir()}) == 1, "its session is removed")


@pytest.mark.parametrize("path", ["/", LOOP_PAGE, DECISION_PAGE, "/no/such/page", "/favicon.ico", "/openapi.json"])
def test_nothing_opens_without_a_key(dashboard: Dashboard, path: str) -> None:
    answer = httpx.get(dashboard.url + path)
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_other_hosts_names_do_not_reach_it(dashboard: Dashboard) -> None:
    assert httpx.get(f"{dashboard.url}/sign-in", headers={"Host": "evil.example"}).status_code == 400


def test_a_key_that_is_revoked_leads_back_to_the_sign_in_page(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    del fake.roles[KEY]
    expect(page).to_have_url(re.compile("/sign-in"))
    expect(page.get_by_role("alert")).to_contain_text("no longer taken")


def test_the_overview_tells_whether_a_loop_learns(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY)
    card = page.get_by_role("link", name=LOOP_ID)
    expect(card).to_contain_text("Learning")
    expect(card).to_contain_text(re.compile(r"Reward rose from 0\.\d\d at first to 0\.\d\d lately"))
    expect(card).to_contain_text("v3")
    expect(card.locator("svg polyline")).to_have_count(1)
    fake.experiences = 960
    expect(card).to_contain_text("v4")
    card.click()
    expect(page).to_have_url(visitor.url + LOOP_PAGE)


def test_the_loop_page_moves_with_the_loop_and_keeps_its_place(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    counters = page.locator(".counters")
    expect(counters).to_contain_text("Experiences700")
    expect(page.locator(".curve")).to_have_attribute("aria-label", re.compile(r"Mean reward over 680 experiences"))
    versions = page.get_by_role("table", name="Model versions")
    expect(versions.get_by_role("row", name=re.compile("v3.*champion"))).to_be_visible()
    expect(page.get_by_role("table", name="Latest decisions").get_by_role("row").nth(1)).to_contain_text("waiting")
    page.get_by_role("table", name="Latest decisions").get_by_role("link").first.focus()
    page.evaluate("window.focused = document.activeElement")
    fake.experiences = 705
    expect(counters).to_contain_text("Experiences705")
    assert page.evaluate("document.activeElement === window.focused && window.focused.pathname") == DECISION_PAGE
    fake.experiences = 960
    expect(counters).to_contain_text("Experiences960")
    expect(versions.get_by_role("row", name=re.compile("v4.*champion"))).to_be_visible()
    expect(page.locator(".curve")).to_have_attribute("aria-label", re.compile(r"Mean reward over 960 experiences"))


def test_a_fine_tune_is_asked_for_by_keyboard(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/training-runs")
    page.get_by_role("heading", level=1).wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Fine-tune now":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_text("Training run queued")).to_be_visible()
    assert fake.fine_tunes == 1
    expect(page.get_by_role("table", name="Training runs").get_by_role("row").nth(1)).to_contain_text("queued")


def test_a_gateway_that_goes_away_and_comes_back(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    expect(page.locator(".counters")).to_contain_text("Experiences700")
    fake.away = True
    expect(page.locator(".banner")).to_contain_text("The gateway does not answer. What you see is from")
    expect(page.locator(".counters")).to_contain_text("Experiences700")
    page.get_by_role("button", name="Compare policies").click()
    expect(page.get_by_text("Nothing was evaluated")).to_be_visible()
    fake.away, fake.experiences = False, 720
    expect(page.locator(".banner")).to_be_hidden()
    expect(page.locator(".counters")).to_contain_text("Experiences720")


def test_a_page_opened_while_the_gateway_is_away_fills_itself(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY)
    fake.away = True
    page.goto(LOOP_PAGE)
    expect(page.locator(".banner")).to_contain_text("The gateway does not answer")
    expect(page.get_by_role("heading", level=1)).to_be_hidden()
    fake.away = False
    expect(page.get_by_role("heading", level=1)).to_have_text(LOOP_ID)


def test_a_decision_shows_what_it_rested_on_and_then_its_reward(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    page.get_by_role("table", name="Latest decisions").get_by_role("link").first.click()
    expect(page).to_have_url(visitor.url + DECISION_PAGE)
    expect(page.get_by_role("heading", level=1)).to_have_text("Chose 3")
    picture = page.get_by_role("img", name="The picture in digit")
    until(lambda: picture.evaluate("image => image.naturalWidth") == 16, "the picture is shown")
    expect(page.locator("blockquote")).to_have_text("is it greater than four?")
    ranking = page.get_by_role("table", name="Ranking").get_by_role("row")
    expect(ranking).to_have_count(13)
    expect(ranking.nth(1)).to_contain_text(re.compile(r"3.*chosen.*0\.753.*0\.91.*0\.85 to 0\.97"))
    expect(page.locator(".counters")).to_contain_text("Rewardwaiting")
    fake.experiences = 701
    expect(page.locator(".counters")).to_contain_text("Reward1.00")
    expect(page.get_by_role("table", name="Feedback").get_by_role("row").nth(1)).to_contain_text("correct")
    expect(page.get_by_role("table", name="What it weighed").get_by_role("row").nth(1)).to_contain_text("digit70 %")


def test_the_curve_is_held_against_other_policies(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, LOOP_PAGE)
    page.get_by_role("button", name="Compare policies").click()
    expect(page.get_by_text("the uniform policy 0.11 (0.08 to 0.14)")).to_be_visible()
    expect(page.locator(".curve")).to_contain_text("baseline policy 0.21")
    assert sorted(fake.evaluated) == ["baseline", "uniform"]


def test_a_rollout_is_started_by_form_and_led_behind_confirmations(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/models/1")
    page.get_by_role("link", name="Roll it out").click()
    expect(page.get_by_role("combobox", name="Model version")).to_have_value("1")
    page.get_by_label("Strategy").select_option("canary")
    page.get_by_label("Steps, in percent").fill("a few")
    page.get_by_role("button", name="Start rollout").click()
    expect(page.get_by_text("Steps are whole numbers")).to_be_visible()
    page.get_by_label("Steps, in percent").fill("10, 25")
    fake.rollout_status = "rolled_back"
    expect(page.get_by_role("table", name="Rollouts")).to_contain_text("rolled back")
    # What was typed stays when something else on the page changes.
    expect(page.get_by_label("Steps, in percent")).to_have_value("10, 25")
    page.get_by_role("button", name="Start rollout").click()
    page.get_by_role("dialog").get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rollout of version 1")
    assert fake.led == ["started 1 canary"]
    expect(page.get_by_role("table", name="Evidence")).to_contain_text("Mean reward0.710.65")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("dialog")).to_contain_text("all decisions within two seconds")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert fake.led == ["started 1 canary"]
    for verb, status in (("Pause", "paused"), ("Resume", "running"), ("Roll back", "rolled back")):
        page.get_by_role("button", name=verb).click()
        page.get_by_role("dialog").get_by_role("button", name=verb).click()
        expect(page.locator(".counters")).to_contain_text(f"Status{status}")
    assert fake.led[1:] == ["pause", "resume", "rollback"]
    expect(page.get_by_role("button", name="Promote")).to_be_hidden()


def test_two_versions_are_compared(visitor: Visitor) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/models")
    page.get_by_role("table", name="Model versions").get_by_role("link", name="v3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Model version 3")
    expect(page.get_by_label("Lineage")).to_have_text("v1→v2→v3")
    differences = page.get_by_role("table", name="Differences")
    expect(differences).to_contain_text("experiences1 to 3001 to 600")
    page.get_by_label("Compare with").select_option("1")
    page.get_by_role("button", name="Compare").click()
    expect(differences.get_by_role("row", name=re.compile("learning_rate"))).to_contain_text("0.0010.002")
    page.get_by_role("link", name="Training run", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Training run")
    expect(page.locator(".curve")).to_have_attribute("aria-label", re.compile("the loss went from 0.0500 to 0.0005"))


def test_a_policy_is_evaluated_by_form(visitor: Visitor) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/evaluations")
    page.get_by_role("combobox", name="Policy").select_option("table")
    page.get_by_role("textbox", name="Table").fill("{")
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_text("The table is not JSON")).to_be_visible()
    page.get_by_role("combobox", name="Policy").select_option("uniform")
    expect(page.get_by_role("textbox", name="Table")).to_be_hidden()
    page.get_by_role("button", name="Evaluate").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Evaluation of the uniform policy")
    expect(page.locator(".warning")).to_contain_text("Too little: the rows are worth 87")
    rows = page.get_by_role("table", name="Estimates").get_by_role("row")
    expect(rows.nth(3)).to_contain_text("DR: doubly robust0.110.08 to 0.14")


def test_a_log_is_imported_by_form(visitor: Visitor, fake: FakeGateway) -> None:
    page = visitor.sign_in(KEY, f"{LOOP_PAGE}/import")
    lines = b'{"decision_id": "old-1"}\nno line\n'
    page.get_by_label("Format").select_option("dsjson")
    log = {"name": "log.dsjson", "mimeType": "application/json", "buffer": lines}
    page.locator("input[type=file]").set_input_files(log)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("table", name="Skipped lines").get_by_role("row").nth(1)).to_contain_text("2format dsjson")
    assert fake.imported == [lines]
    fake.away = True
    page.locator("input[type=file]").set_input_files(log)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("alert")).to_have_text("The gateway does not answer.")
    # Chromium notes the answer's status as an error of its own.
    visitor.errors = [error for error in visitor.errors if "502" not in error]


def test_a_decide_key_reads_single_decisions_and_is_offered_nothing_else(visitor: Visitor) -> None:
    page = visitor.sign_in(DECIDE_KEY)
    page.get_by_role("textbox", name="Loop").fill(LOOP_ID)
    page.get_by_label("Decision id").fill(DECISION_PAGE.rpartition("/")[2])
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Chose 3")
    expect(page.get_by_role("img", name="The picture in digit")).to_be_visible()
    expect(page.get_by_role("navigation", name=re.compile("Pages of"))).to_have_count(0)
    page.goto(f"{LOOP_PAGE}/rollouts")
    expect(page.locator(".banner")).to_contain_text("role does not allow")
    expect(page.get_by_role("button", name="Start rollout")).to_be_hidden()


def test_empty_pages_say_what_to_do_next(visitor: Visitor, fake: FakeGateway) -> None:
    fake.has_loop, fake.experiences = False, 0
    page = visitor.sign_in(KEY)
    expect(page.locator("pre")).to_contain_text("curl -X PUT")
    fake.has_loop = True
    page.get_by_role("link", name=LOOP_ID).click()
    expect(page.get_by_role("heading", name="No experience yet")).to_be_visible()
    expect(page.locator("pre")).to_contain_text(f"/v1/loops/{LOOP_ID}/feedback")
    fake.experiences = 80
    expect(page.locator("pre")).to_be_hidden()
    expect(page.locator(".curve")).to_be_visible()


def test_what_is_not_there_is_said(visitor: Visitor) -> None:
    page = visitor.sign_in(KEY)
    page.goto("/loops/unheard-of")
    expect(page.locator(".banner")).to_have_text("There is no such loop.")
    # Chromium notes the answer's status 404 as an error of its own.
    assert page.goto("/no/such/page") is not None
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing here")
    visitor.errors = [error for error in visitor.errors if "404" not in error]


def test_an_absurd_reward_fits_a_phone(browser: Browser, dashboard: Dashboard, fake: FakeGateway) -> None:
    fake.worth = 9e14
    visitor = Visitor(browser, dashboard.url, 390)
    page = visitor.sign_in(KEY)
    expect(page.locator(".big")).to_have_text(re.compile(r"^\d+(,\d{3}){4}\.\d\d$"))
    check_page(page, 390, "light")
    visitor.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_before_signing_in_and_without_data_fit_their_window(
    browser: Browser, dashboard: Dashboard, fake: FakeGateway, width: int, scheme: Scheme
) -> None:
    visitor = Visitor(browser, dashboard.url, width, scheme)
    page = visitor.page
    page.goto("/sign-in")
    expect(page.get_by_label("API key")).to_be_visible()
    check_page(page, width, scheme)
    visitor.sign_in(DECIDE_KEY)
    check_page(page, width, scheme)
    page.get_by_role("button", name="Sign out").click()
    # It goes to another page, which would cut off the one that is asked for next.
    expect(page.get_by_label("API key")).to_be_visible()
    fake.experiences = 0
    visitor.sign_in(KEY, LOOP_PAGE)
    for path in ("", "/actions", "/modalities", "/fairness", "/rollouts"):
        page.goto(LOOP_PAGE + path)
        page.get_by_role("heading", level=1).wait_for()
        check_page(page, width, scheme)
    visitor.close()
    assert (visitor.errors, visitor.foreign()) == ([], [])


def test_it_is_small_ends_at_once_and_keeps_its_sessions(
    browser: Browser, fake_server: tuple[FakeGateway, int], fake: FakeGateway, tmp_path: Path
) -> None:
    dashboard = Dashboard(tmp_path / "state", fake_server[1])
    visitor = Visitor(browser, dashboard.url)
    with dashboard.running() as process:
        visitor.sign_in(KEY, LOOP_PAGE).get_by_role("heading", level=1).wait_for()
        assert psutil.Process(process.pid).memory_full_info().pss / 2**20 < MEMORY_MB
        assert psutil.Process(process.pid).children() == []
    assert process.returncode in (0, -signal.SIGTERM)
    # A page that is open loads itself again as soon as the dashboard is back.
    visitor.page.goto("about:blank")
    with dashboard.running():
        visitor.page.goto(LOOP_PAGE)
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text(LOOP_ID)
    visitor.close()
