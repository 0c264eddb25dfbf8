"""Clocks that leap."""

from dataclasses import dataclass

import pytest

from services.feedback.timing import WindowTime

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@dataclass
class Clocks:
    wall: int = 10 * DAY
    monotonic: int = 5 * SECOND

    def passes(self, microseconds: int) -> None:
        self.wall += microseconds
        self.monotonic += microseconds

    def time(self) -> WindowTime:
        return WindowTime(lambda: self.wall, lambda: self.monotonic)


def test_time_is_the_wall_clocks() -> None:
    clocks = Clocks()
    time = clocks.time()
    for microseconds in (0, 10, HOUR, 3 * DAY):
        clocks.passes(microseconds)
        assert time.now() == clocks.wall


@pytest.mark.parametrize("leap", [HOUR, DAY])
def test_a_leap_forward_is_not_believed_alone(leap: int) -> None:
    clocks = Clocks()
    time = clocks.time()
    clocks.wall += leap
    for _ in range(3):
        clocks.passes(SECOND)
        assert time.now() == clocks.wall - leap
    clocks.wall -= leap
    assert time.now() == clocks.wall


def test_a_leap_forward_is_believed_once_an_event_comes_from_after_it() -> None:
    clocks = Clocks()
    time = clocks.time()
    clocks.wall += HOUR
    time.witness(clocks.wall - DAY)
    assert time.now() == clocks.wall - HOUR
    time.witness(clocks.wall - SECOND)
    assert time.now() == clocks.wall
    clocks.passes(DAY)
    assert time.now() == clocks.wall


def test_an_event_from_the_future_does_not_turn_the_clock() -> None:
    clocks = Clocks()
    time = clocks.time()
    time.witness(clocks.wall + DAY)
    assert time.now() == clocks.wall


@pytest.mark.parametrize("step", [HOUR, DAY])
def test_a_step_back_is_believed_at_once(step: int) -> None:
    clocks = Clocks()
    time = clocks.time()
    clocks.wall -= step
    assert time.now() == clocks.wall
    clocks.passes(SECOND)
    assert time.now() == clocks.wall


def test_a_slewed_clock_is_followed_in_both_directions() -> None:
    clocks = Clocks()
    time = clocks.time()
    for drift in [500] * 1000 + [-500] * 2000:
        clocks.passes(SECOND)
        clocks.wall += drift
        assert time.now() == clocks.wall
