"""Rewards restated where the reward was defined anew: each once, in batches, whatever happens in between."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from services.feedback.restating import BATCH, INTERVAL
from shared.db.decisions import StoredExperience, list_experiences
from shared.db.engine import read_session, write_session
from shared.db.offsets import FencedError
from shared.db.tables import ExperienceRow, RestatementRow
from shared.domain import Action, Experience
from shared.events import EXPERIENCES, event_from_record
from shared.functional.rewards import captioning_reward
from tests.unit.services.feedback.conftest import GRACE, LOOP, WAIT, Bench
from tests.unit.services.feedback.test_imports import bring, imported

TEN = {"reward": {"metrics": {"reward": {"weight": 10.0}}}}


def define(bench: Bench, revision: int, **settings: Any) -> None:
    """As the gateway does it where the reward is another one."""
    bench.save_loop(revision, **settings)
    with write_session(bench.engine) as session:
        asked = {"settings_revision": revision, "done_sequence": 0, "until_sequence": None}
        session.merge(RestatementRow(tenant=LOOP[0], loop_id=LOOP[1], **asked))
    bench.passes(INTERVAL)


def join(bench: Bench, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        bench.decide(f"d-{number}", model_version=1 + number % 2)
        bench.feed(f"d-{number}", value=number / 8)
    bench.drain()


def counting(bench: Bench) -> list[StoredExperience]:
    """The revisions that count, in order of their sequences."""
    with read_session(bench.engine) as session:
        return list_experiences(session, *LOOP, limit=10_000)[::-1]


def asked(bench: Bench) -> int:
    with read_session(bench.engine) as session:
        return len(session.scalars(select(RestatementRow)).all())


def assert_restated_once(bench: Bench, count: int) -> None:
    """Every reward is ten times what came, but for the first, which was 0; nothing is left to do."""
    assert asked(bench) == 0
    found = counting(bench)
    assert sorted(one.experience.reward for one in found) == [10 * number / 8 for number in range(count)]
    with read_session(bench.engine) as session:
        sequences = session.scalars(select(ExperienceRow.sequence).order_by(ExperienceRow.sequence)).all()
    assert sequences == list(range(1, 2 * count))
    statistics = bench.statistics()
    assert (statistics.last_sequence, statistics.published_sequence) == (2 * count - 1, 2 * count - 1)
    assert statistics.counts["restated"] == count - 1
    assert statistics.reward is not None
    assert statistics.reward.experiences == count
    rewards = np.array([one.experience.reward for one in found])
    half = 1.959964 * rewards.std(ddof=1) / np.sqrt(count)
    assert statistics.reward.interval == pytest.approx((rewards.mean() - half, rewards.mean() + half))
    for version in statistics.versions:
        mine = [one.experience.reward for one in found if one.experience.model_version == version.model_version]
        assert version.reward.mean_reward == pytest.approx(np.mean(mine))


def test_a_restatement_is_a_revision_with_a_sequence_of_its_own_that_says_so(bench: Bench) -> None:
    join(bench, 3)
    define(bench, 2, **TEN)
    bench.drain()
    assert_restated_once(bench, 3)
    assert [(one.experience.sequence, one.revision, one.experience.restates_sequence) for one in counting(bench)] == [
        (1, 1, None),
        (4, 2, 2),
        (5, 2, 3),
    ]
    assert bench.reward("d-2") == 2.5
    told = [event_from_record(record) for record in bench.log.records[EXPERIENCES]]
    newest = told[-1]
    assert isinstance(newest, Experience)
    assert (newest.sequence, newest.restates_sequence, newest.previous_reward, newest.reward) == (5, 3, 0.25, 2.5)
    assert newest.state is not None
    bench.passes(INTERVAL)
    bench.drain()
    assert_restated_once(bench, 3)


def test_late_feedback_stays_out_and_the_default_reward_changes(bench: Bench) -> None:
    bench.decide("told")
    bench.feed("told", value=0.0)
    bench.feed("told", value=1.0)
    bench.decide("untold")
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    define(bench, 2, default_reward=0.5, reward_aggregation="sum")
    bench.drain()
    assert (bench.reward("told"), bench.reward("untold")) == (0.0, 0.5)
    assert bench.counts()["restated"] == 1


def test_what_is_restated_again_names_its_first_experience_and_the_reward_before(bench: Bench) -> None:
    join(bench, 2)
    define(bench, 2, **TEN)
    bench.drain()
    define(bench, 3, reward={"metrics": {"reward": {"weight": -1.0}}})
    bench.drain()
    newest = counting(bench)[-1]
    assert (newest.revision, newest.experience.restates_sequence, newest.experience.sequence) == (3, 2, 4)
    assert (newest.experience.previous_reward, newest.experience.reward) == (1.25, -0.125)
    assert bench.statistics().versions[1].reward.mean_reward == -0.125


def test_many_are_restated_batch_by_batch_between_joins(bench: Bench) -> None:
    count = 2 * BATCH + 7
    join(bench, count)
    define(bench, 2, **TEN)
    bench.decide("new")
    bench.feed("new", value=1.0)
    bench.joiner.step()
    assert bench.reward("new") == 10.0
    assert bench.counts()["restated"] == BATCH - 1
    bench.drain()
    assert bench.counts()["restated"] == count - 1
    assert asked(bench) == 0


@pytest.mark.parametrize("answer", ["refused", "lost"])
def test_a_crash_in_between_restates_nothing_twice(bench: Bench, answer: str) -> None:
    count = 2 * BATCH + 7
    join(bench, count)
    define(bench, 2, **TEN)
    bench.joiner.step()
    failing = iter([True])

    @event.listens_for(bench.engine, "commit")
    def fail(connection: Connection) -> None:
        if connection.get_execution_options().get("rewardloop_writes") and next(failing, False):
            if answer == "lost":
                connection.exec_driver_sql("COMMIT")
            raise OperationalError("COMMIT", {}, Exception("the process is gone"))

    with pytest.raises(OperationalError):
        bench.joiner.step()
    bench.start()
    bench.drain()
    assert_restated_once(bench, count)


def test_another_change_begins_it_anew(bench: Bench) -> None:
    count = BATCH + 7
    join(bench, count)
    define(bench, 2, reward={"metrics": {"reward": {"weight": 3.0}}})
    bench.joiner.step()
    define(bench, 3, **TEN)
    bench.drain()
    rewards = sorted(one.experience.reward for one in counting(bench))
    assert rewards == [10 * number / 8 for number in range(count)]
    assert bench.counts()["restated"] == (BATCH - 1) + (count - 1)


def test_texts_are_scored_again_for_the_action_that_was_served(bench: Bench) -> None:
    caption = {"caption": {"scorer": {"kind": "captioning"}}}
    bench.save_loop(2, reward={"metrics": caption})
    actions = [Action("a", {"caption": "shoe", "long": "one red shoe"}), Action("b", {"caption": "x"})]
    bench.decide(actions=actions, deferred=True)
    bench.activate(served_action_id="a")
    bench.feed(metric="caption", value="a red shoe")
    bench.drain()
    assert bench.reward() == captioning_reward("shoe", ["a red shoe"], 1.0, 0.5, 0.5)
    caption["caption"]["scorer"] |= {"alpha": 2.0, "caption_feature": "long"}
    define(bench, 3, reward={"metrics": caption})
    bench.drain()
    assert bench.reward() == captioning_reward("one red shoe", ["a red shoe"], 2.0, 0.5, 0.5)


def test_a_zombie_restates_nothing(bench: Bench) -> None:
    join(bench, 3)
    zombie = bench.joiner
    bench.start()
    bench.drain()
    define(bench, 2, **TEN)
    with pytest.raises(FencedError):
        zombie.step()
    assert bench.statistics().last_sequence == 3


def test_an_imported_reward_has_no_feedback_behind_it_and_stays(bench: Bench) -> None:
    bring(bench, imported())
    join(bench, 1, first=1)
    define(bench, 2, **TEN)
    bench.drain()
    assert [(one.experience.reward, one.closed_by) for one in counting(bench)] == [(0.25, "import"), (1.25, "feedback")]
    assert bench.statistics().counts["restated"] == 1


def late(bench: Bench) -> list[tuple[object, bool]]:
    return sorted((one.feedback.value, one.late) for one in bench.stored().feedback)


@pytest.mark.parametrize("setting", ["keep", "restate"])
def test_late_feedback_restates_where_the_loop_asks_for_it(bench: Bench, setting: str) -> None:
    bench.save_loop(2, late_feedback=setting, reward_aggregation="sum")
    bench.decide()
    bench.feed(value=1.0)
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.reward() == 1.0
    bench.feed(value=0.5)
    bench.feed(value=0.25)
    bench.drain()
    assert late(bench) == [(0.25, True), (0.5, True), (1.0, False)]
    assert bench.counts()["late_feedback"] == 2
    assert bench.reward() == (1.75 if setting == "restate" else 1.0)
    assert bench.counts().get("restated", 0) == (setting == "restate")
    if setting == "restate":
        newest = counting(bench)[-1].experience
        assert (newest.sequence, newest.restates_sequence, newest.previous_reward) == (2, 1, 1.0)
        told = [event_from_record(record) for record in bench.log.records[EXPERIENCES]]
        assert [one.reward for one in told if isinstance(one, Experience)] == [1.0, 1.75]
        assert bench.statistics().reward is not None


def test_a_loop_that_asks_for_it_later_has_its_late_feedback_count_too(bench: Bench) -> None:
    bench.save_loop(2, reward_aggregation="max")
    bench.decide()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    bench.feed(value=0.5)
    bench.drain()
    assert bench.reward() == 0.0
    define(bench, 3, reward_aggregation="max", late_feedback="restate")
    bench.drain()
    assert bench.reward() == 0.5
    define(bench, 4, reward_aggregation="max")
    bench.drain()
    assert bench.reward() == 0.0


def test_what_a_gateway_took_in_the_window_counts_however_late_it_comes_to_the_log(bench: Bench) -> None:
    bench.decide()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert (bench.reward(), bench.stored().experience is not None) == (0.0, True)
    # From the spool of one gateway of several, while the others went on.
    bench.feed(value=1.0, received_at=bench.wall - WAIT)
    bench.feed(value=0.5)
    bench.drain()
    assert late(bench) == [(0.5, True), (1.0, False)]
    assert bench.reward() == 1.0
    assert (bench.counts()["late_feedback"], bench.counts()["restated"]) == (1, 1)


def test_more_feedback_after_all_metrics_came_is_late_within_the_window_too(bench: Bench) -> None:
    bench.save_loop(2, reward_aggregation="sum", close_on_first_feedback=True)
    bench.decide()
    bench.feed(value=1.0)
    bench.drain()
    bench.feed(value=1.0)
    bench.drain()
    assert bench.reward() == 1.0
    assert bench.counts()["late_feedback"] == 1
    assert "restated" not in bench.counts()


def test_a_new_experience_and_a_restated_one_share_a_transaction(bench: Bench) -> None:
    bench.save_loop(2, late_feedback="restate", reward_aggregation="max", close_on_first_feedback=True)
    bench.decide("first")
    bench.feed("first", value=0.25)
    bench.drain()
    bench.decide("second")
    bench.feed("first", value=0.75)
    bench.feed("second", value=0.5)
    # Both at once: it closes, and then it is restated.
    bench.feed("second", value=1.0)
    bench.drain()
    assert (bench.reward("first"), bench.reward("second")) == (0.75, 1.0)
    assert [one.experience.sequence for one in counting(bench)] == [3, 4]
    statistics = bench.statistics()
    assert statistics.reward is not None
    assert (statistics.reward.experiences, statistics.reward.mean_reward) == (2, 0.875)
