"""Settings as they act at a time."""

from dataclasses import replace

import pytest

from shared.loop_settings import Loop, LoopSettings

HOUR = 3_600_000_000


def loop_of(**exploration: object) -> Loop:
    body = {"modalities": {"title": {"kind": "text"}}, "exploration": exploration}
    return Loop("acme", "news", LoopSettings.model_validate(body), 1, 0, online_at=10 * HOUR)


@pytest.mark.parametrize(
    ("now", "floor"), [(10 * HOUR, 0.1), (12 * HOUR - 1, 0.1), (12 * HOUR, 0.005), (20 * HOUR, 0.005)]
)
def test_the_floor_is_higher_for_a_while_after_apprentice_mode(now: int, floor: float) -> None:
    assert loop_of(warm_up="PT2H").settings_at(now).exploration.floor == floor


def test_a_higher_floor_and_a_loop_that_was_no_apprentice_keep_their_settings() -> None:
    high = loop_of(floor=0.2)
    assert high.settings_at(10 * HOUR) is high.settings
    never = replace(loop_of(), online_at=None)
    assert never.settings_at(10 * HOUR) is never.settings
