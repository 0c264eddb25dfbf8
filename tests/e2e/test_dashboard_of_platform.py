"""The dashboard in a real Chromium, in front of the whole platform."""

import re
from itertools import islice

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e import product
from tests.e2e.browsing import Visitor
from tests.e2e.conftest import KEY, Platform

LOOP = "seen"

pytestmark = pytest.mark.browser


def test_a_loop_shows_what_it_has_gathered(browser: Browser, shared_platform: Platform) -> None:
    with shared_platform.client() as http:
        product.put_loop(http, LOOP)
        for visit in islice(product.visits(), 30):
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        product.wait_for_experiences(http, LOOP, 30)
    visitor = Visitor(browser, f"http://127.0.0.1:{shared_platform.dashboard_port}")
    page = visitor.sign_in(KEY, f"/loops/{LOOP}")
    for counter in ("Decisions", "Feedback", "Experiences"):
        expect(page.locator("body")).to_contain_text(re.compile(rf"{counter}\s*30(?!\d)"))
    visitor.close()
    assert visitor.errors == []
    assert visitor.foreign() == []
