"""Which calls are repeated, and when."""

import httpx
import pytest

from rewardloop import Retry

RETRY = Retry(attempts=4, first_pause=0.1, longest_pause=0.25, uniform=lambda low, high: high)


def test_pauses_double_up_to_the_longest() -> None:
    assert [RETRY.pause(attempt, None) for attempt in (1, 2, 3, 4)] == [0.1, 0.2, 0.25, None]


def test_pauses_are_drawn_from_the_upper_half() -> None:
    assert Retry(first_pause=0.1, uniform=lambda low, high: low).pause(1, None) == 0.05


@pytest.mark.parametrize(("status", "again"), [(503, True), (429, True), (502, True), (500, False), (422, False)])
def test_only_what_may_pass_is_repeated(status: int, again: bool) -> None:
    assert (RETRY.pause(1, httpx.Response(status)) is not None) == again


@pytest.mark.parametrize(("header", "pause"), [("0", 0.0), ("1", 0.25), ("Mon, 23 Nov 2026 10:00:00 GMT", 0.1)])
def test_retry_after_is_kept_to_within_reason(header: str, pause: float) -> None:
    assert RETRY.pause(1, httpx.Response(503, headers={"Retry-After": header})) == pause
