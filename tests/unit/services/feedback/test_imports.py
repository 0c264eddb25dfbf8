"""What the joiner makes of imported experiences, and of the ends of episodes."""

from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import select

from shared.db.engine import read_session
from shared.db.episodes import read_end, read_ends, read_next_decisions
from shared.db.tables import EpisodeEndRow
from shared.domain import Decision, End, EpisodeEnd, Feedback, ImportedExperience
from shared.events import DECISIONS, FEEDBACK, episode_end_record, imported_record
from shared.loop_settings import LoopSettings
from tests.unit.services.feedback.conftest import LOOP, SECOND, START, Bench, decision

HOUR = 3600 * SECOND
TIMEOUT = LoopSettings.model_fields["episode_timeout"].default


def imported(decision_id: str = "d", **changes: Any) -> ImportedExperience:
    """Of an hour before the start, rewarded with 0.25."""
    of = {name: changes.pop(name) for name in list(changes) if name in Decision.__dataclass_fields__}
    made = replace(decision(decision_id, START - HOUR), model_version=None, state=None, **of)
    return replace(ImportedExperience(made, reward=0.25), **changes)


def bring(bench: Bench, *rows: ImportedExperience) -> None:
    bench.log.append(DECISIONS, [imported_record(row) for row in rows])
    bench.drain()


def end(bench: Bench, decision_id: str, how: End = "terminated", episode_id: str = "e") -> None:
    event = EpisodeEnd(*LOOP, episode_id, decision_id, how, bench.wall)
    bench.log.append(FEEDBACK, [episode_end_record(event)])
    bench.drain()


def ends(bench: Bench) -> list[tuple[str, str, str]]:
    of = EpisodeEndRow
    with read_session(bench.engine) as session:
        return list(session.execute(select(of.episode_id, of.decision_id, of.end).order_by(of.episode_id)))


def test_a_row_closes_at_once_whatever_the_loop_waits_for(bench: Bench) -> None:
    bench.save_loop(2, close_on_first_feedback=False)
    bring(bench, imported())
    stored = bench.stored()
    assert stored.experience is not None
    experience = stored.experience.experience
    assert (experience.sequence, experience.reward, experience.probability) == (1, 0.25, 0.75)
    assert (stored.experience.closed_by, stored.closes_at) == ("import", None)
    assert bench.counts() == {"decisions": 1}


def test_all_of_its_feedback_makes_the_reward(bench: Bench) -> None:
    bench.save_loop(2, reward_aggregation="sum")
    feedback = [Feedback(*LOOP, f"f-{index}", "d", "reward", 0.5, START - HOUR + index) for index in range(3)]
    bring(bench, imported(reward=None, feedback=feedback))
    assert bench.reward() == 1.5
    assert [one.late for one in bench.stored().feedback] == [False] * 3


def test_repeats_change_nothing(bench: Bench) -> None:
    for _ in range(2):
        bring(bench, imported(), imported())
    assert bench.counts() == {"decisions": 1, "duplicate_decisions": 3}
    assert bench.reward() == 0.25


def test_other_feedback_is_late(bench: Bench) -> None:
    bench.feed()
    bring(bench, imported())
    assert bench.reward() == 0.25
    assert [one.late for one in bench.stored().feedback] == [True]


def test_an_unknown_probability_stays_unknown(bench: Bench) -> None:
    bring(bench, imported(probability=0.0, probabilities=np.zeros(2)))
    stored = bench.stored()
    assert stored.experience is not None
    assert stored.experience.experience.probability is None


def test_what_the_tables_cannot_hold_is_put_aside(bench: Bench) -> None:
    bring(bench, imported(reward=1e300), imported("e" * 300))
    assert [reason.split()[0] for _, _, reason in bench.dead_letters()] == ["its", "a"]


def test_the_first_end_of_an_episode_counts(bench: Bench) -> None:
    bring(bench, imported("d-1", episode_id="e", end="truncated"))
    end(bench, "d-1")
    end(bench, "d-9", episode_id="other")
    assert ends(bench) == [("e", "d-1", "truncated"), ("other", "d-9", "terminated")]


def test_what_followed_is_found_by_the_previous_decision(bench: Bench) -> None:
    first, second = imported("d-1", episode_id="e"), imported("d-2", episode_id="e", previous_decision_id="d-1")
    bring(bench, first, second, imported("d-3", episode_id="e", previous_decision_id="d-2", end="terminated"))
    with read_session(bench.engine) as session:
        assert read_next_decisions(session, *LOOP, 1) == {"d-1": "d-2", "d-2": "d-3"}
        assert read_next_decisions(session, *LOOP, 2) == {"d-2": "d-3"}
        assert read_ends(session, *LOOP, 1, TIMEOUT) == {"d-3": "terminated"}


def test_after_the_timeout_an_episode_was_truncated(bench: Bench) -> None:
    made = bench.decide(episode_id="e")
    bench.feed()
    bench.drain()
    day = 24 * HOUR
    with read_session(bench.engine) as session:
        assert read_end(session, made, TIMEOUT, bench.wall + day) is None
        assert read_end(session, made, TIMEOUT, bench.wall + day + 1) == "truncated"
    bench.passes(day + 1)
    end(bench, "d")
    with read_session(bench.engine) as session:
        assert read_end(session, made, TIMEOUT, bench.wall) == "truncated"
        assert read_ends(session, *LOOP, 1, TIMEOUT) == {"d": "truncated"}
        assert read_ends(session, *LOOP, 1, 2 * TIMEOUT) == {"d": "terminated"}
