"""The dashboard in a real Chromium, in front of the whole platform."""

import re
from itertools import islice

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e import product
from tests.e2e.browsing import Visitor
from tests.e2e.conftest import KEY, Platform

pytestmark = pytest.mark.browser


def test_a_loop_shows_what_it_has_gathered(browser: Browser, platform: Platform) -> None:
    with platform.client() as http:
        product.put_loop(http, "digits")
        for visit in islice(product.visits(), 30):
            product.tell(http, "digits", product.decide(http, "digits", visit), visit)
        product.wait_for_experiences(http, "digits", 30)
    visitor = Visitor(browser, f"http://127.0.0.1:{platform.dashboard_port}")
    page = visitor.sign_in(KEY, "/loops/digits")
    for counter in ("Decisions", "Feedback", "Experiences"):
        expect(page.locator("body")).to_contain_text(re.compile(rf"{counter}\s*30(?!\d)"))
    visitor.close()
    assert visitor.errors == []
    assert visitor.foreign() == []
