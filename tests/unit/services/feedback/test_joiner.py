"""The joiner through log and database: order, clocks, restarts, and what fails under it."""

from collections.abc import Set

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from services.feedback.joiner import MOST_DUE, Joiner, LogLostError
from services.feedback.settings import FeedbackSettings
from services.feedback.sharing import Alone
from shared.db.engine import read_session
from shared.db.offsets import FencedError, read_offsets
from shared.domain import Experience
from shared.eventlog import EventLogError, Position, Record, StoredRecord
from shared.events import (
    DEAD_LETTERS,
    DECISIONS,
    EXPERIENCES,
    FEEDBACK,
    decision_record,
    event_from_record,
)
from tests.unit.services.feedback.conftest import GRACE, SECOND, WAIT, Bench, FakeLog, decision


def run(bench: Bench, steps: int) -> None:
    """So many steps as the process takes them, those included that fail."""
    waits = iter(turns(steps))
    bench.joiner.run(lambda _: next(waits))


def turns(count: int) -> list[bool]:
    """Answers of `wait` that let the joiner take so many steps."""
    return [False] * count + [True]


def test_no_window_closes_before_all_feedback_in_the_log_was_read(bench: Bench) -> None:
    bench.batch = 2
    bench.start()
    for number in range(20):
        bench.decide(f"d-{number}")
    for number in reversed(range(20)):
        bench.feed(f"d-{number}")
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert bench.statistics().last_sequence == 20
    assert bench.statistics().share_closed_by_timeout == 0


def test_feedback_that_was_spooled_while_the_log_was_away_is_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.decide()
    bench.drain()
    bench.passes(SECOND)
    taken_at = bench.wall

    def away(_: str) -> dict[int, int]:
        raise EventLogError("Kafka does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(bench.log, "ends", away)
        bench.passes(WAIT + GRACE + 1)
        run(bench, steps=2)
    run(bench, steps=3)
    bench.feed(received_at=taken_at)
    run(bench, steps=3)
    assert bench.stored().feedback[0].late is False
    assert bench.statistics().share_closed_by_timeout == 0


def test_windows_end_again_some_time_after_the_log_is_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.decide()
    bench.drain()

    def away(_: str) -> dict[int, int]:
        raise EventLogError("Kafka does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(bench.log, "ends", away)
        run(bench, steps=1)
    bench.passes(round(FeedbackSettings().joiner_spool_seconds * SECOND) - 1)
    run(bench, steps=2)
    assert bench.statistics().last_sequence == 0
    bench.passes(1)
    run(bench, steps=2)
    assert bench.statistics().share_closed_by_timeout == 1


def test_any_number_of_windows_may_end_at_once(bench: Bench) -> None:
    for number in range(MOST_DUE + 1):
        bench.decide(f"d-{number}")
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.joiner.step()
    assert bench.statistics().last_sequence == MOST_DUE
    bench.drain()
    assert bench.statistics().last_sequence == MOST_DUE + 1


def test_a_leap_of_the_clock_closes_no_window(bench: Bench) -> None:
    bench.decide()
    bench.drain()
    bench.wall += 3600 * SECOND
    bench.drain()
    assert bench.reward() is None
    bench.wall -= 3600 * SECOND
    bench.feed()
    bench.drain()
    assert bench.reward() == 1.0


def test_a_zombie_commits_nothing(bench: Bench) -> None:
    bench.decide("first")
    bench.drain()
    zombie = bench.joiner
    bench.start()
    bench.drain()
    bench.decide("second")
    bench.feed("second")
    with pytest.raises(FencedError, match="another joiner has taken over"):
        zombie.run(lambda _: False)
    assert bench.counts() == {"decisions": 1}
    bench.drain()
    assert bench.reward("second") == 1.0


def test_a_commit_whose_answer_was_lost_is_not_repeated(bench: Bench) -> None:
    bench.drain()
    lost = iter([True])

    @event.listens_for(bench.engine, "commit")
    def lose_the_answer(connection: Connection) -> None:
        if connection.get_execution_options().get("rewardloop_writes") and next(lost, False):
            connection.exec_driver_sql("COMMIT")
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    bench.decide()
    bench.feed()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.counts() == {"decisions": 1, "feedback": 1}
    assert bench.statistics().published_sequence == 1


@pytest.mark.parametrize("commits_first", [True, False])
def test_a_take_over_whose_answer_was_lost_is_made_again(bench: Bench, commits_first: bool) -> None:
    bench.drain()
    bench.start()
    lost = iter([True])

    @event.listens_for(bench.engine, "commit")
    def lose_the_answer(connection: Connection) -> None:
        if next(lost, False):
            connection.exec_driver_sql("COMMIT" if commits_first else "ROLLBACK")
            raise OperationalError("COMMIT", {}, Exception("server closed the connection"))

    bench.decide()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.counts() == {"decisions": 1}


def test_what_another_joins_while_it_takes_over_is_no_lost_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.decide()
    old, new, ends = bench.joiner, bench.start(), bench.log.ends
    old.step()

    def overtaken(topic: str) -> dict[int, int]:
        found = ends(topic)
        if topic == DECISIONS:
            monkeypatch.setattr(bench.log, "ends", ends)
            bench.decide("e")
            old.step()
        return found

    monkeypatch.setattr(bench.log, "ends", overtaken)
    new.step()
    bench.feed("e")
    new.step()
    assert bench.reward("e") == 1.0


def test_it_looks_into_the_log_at_an_even_pace_under_load_too(bench: Bench) -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        bench.decide()
        pauses.append(seconds)
        return len(pauses) > 3

    bench.joiner.run(wait)
    # The bench's clock stands still while a step runs.
    assert pauses == [0.0] + [FeedbackSettings().joiner_poll_seconds] * 3


def test_the_database_may_be_away_for_a_while(bench: Bench) -> None:
    bench.decide()
    bench.feed()
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 12

    def refuse(_: Connection) -> None:
        if len(pauses) < 10:
            raise OperationalError("BEGIN", {}, Exception("database is away"))

    event.listen(bench.engine, "begin", refuse, insert=True)
    bench.joiner.run(wait)
    assert pauses[1:10] == sorted(pauses[1:10])
    assert max(pauses) <= 5
    assert bench.reward() == 1.0


def test_experiences_reach_the_log_in_order_and_once_it_takes_them_again(bench: Bench) -> None:
    bench.log.refuses = {EXPERIENCES}
    for number in range(3):
        bench.decide(f"d-{number}")
        bench.feed(f"d-{number}", value=float(number))
        bench.drain()
    assert bench.statistics().last_sequence == 3
    assert bench.statistics().published_sequence == 0
    bench.log.refuses.clear()
    bench.passes(2 * SECOND)
    bench.drain()
    assert bench.statistics().published_sequence == 3
    events = [event_from_record(record) for record in bench.log.records[EXPERIENCES]]
    experiences = [one for one in events if isinstance(one, Experience)]
    assert [(one.sequence, one.reward) for one in experiences] == [(1, 0.0), (2, 1.0), (3, 2.0)]
    assert all(one.state is not None and one.state.tolist() == [0.5, -1.0] for one in experiences)


def test_a_new_process_publishes_what_the_last_one_left(bench: Bench) -> None:
    bench.log.refuses = {EXPERIENCES}
    bench.decide()
    bench.feed()
    bench.drain()
    bench.log.refuses.clear()
    bench.start()
    bench.drain()
    assert len(bench.log.records[EXPERIENCES]) == 1


def test_a_dead_letter_that_the_log_refuses_keeps_its_place(bench: Bench) -> None:
    bench.log.append(DECISIONS, [Record("key", b"")])
    bench.log.refuses = {DEAD_LETTERS}
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert bench.dead_letters() == []
    bench.log.refuses.clear()
    script = iter(turns(3))
    bench.joiner.run(lambda _: next(script))
    assert len(bench.dead_letters()) == len(bench.log.records[DEAD_LETTERS]) == 1


def test_offsets_skip_what_retention_has_dropped(bench: Bench) -> None:
    for number in range(4):
        bench.decide(f"d-{number}")
        bench.feed(f"d-{number}")
    bench.log.trimmed = {DECISIONS: 2, FEEDBACK: 4}
    bench.drain()
    with read_session(bench.engine) as session:
        assert read_offsets(session) == {DECISIONS: {0: 4}, FEEDBACK: {0: 4}}
    assert bench.counts() == {"decisions": 2}


def test_another_log_than_the_databases_own_is_refused(bench: Bench) -> None:
    bench.decide()
    bench.drain()
    bench.log = FakeLog()
    bench.start()
    with pytest.raises(LogLostError, match="ends at 0, but was read up to 1"):
        bench.joiner.run(lambda _: False)


class GrowingLog(FakeLog):
    """Its topics get a second partition while the joiner runs."""

    def __init__(self) -> None:
        super().__init__()
        self.second: dict[str, list[Record]] | None = None

    def ends(self, topic: str) -> dict[int, int]:
        more = {} if self.second is None else {1: len(self.second[topic])}
        return super().ends(topic) | more

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        if partition == 0 or self.second is None:
            return super().read(topic, partition, offset, limit)
        kept = self.second[topic][offset : offset + limit]
        return [StoredRecord(Position(topic, 1, offset + index), one, 0) for index, one in enumerate(kept)]


def test_partitions_that_appear_are_read_from_their_beginning(bench: Bench) -> None:
    log = bench.log = GrowingLog()
    bench.start()
    bench.decide("d-1")
    bench.drain()
    made = decision_record(decision("d-2", bench.wall))
    log.second = {DECISIONS: [made], FEEDBACK: []}
    bench.feed("d-1")
    bench.drain()
    bench.passes(WAIT + GRACE + 1)
    bench.drain()
    assert (bench.counts()["decisions"], bench.statistics().last_sequence) == (2, 2)
    with read_session(bench.engine) as session:
        assert read_offsets(session)[DECISIONS] == {0: 1, 1: 1}


class Half(Alone):
    """The share of a joiner that is told which partitions are its own."""

    yields = True

    def __init__(self, *mine: int) -> None:
        self.mine = set(mine)

    def of(self, partitions: Set[int]) -> Set[int]:
        return partitions & self.mine


def test_a_window_is_closed_by_the_joiner_that_reads_its_partition(bench: Bench) -> None:
    log = bench.log = GrowingLog()
    log.second = {DECISIONS: [decision_record(decision("d-2", bench.wall))], FEEDBACK: []}
    settings = FeedbackSettings(joiner_grace_seconds=GRACE / SECOND)
    first, second = (
        Joiner(bench.engine, log, settings, Half(number), wall=lambda: bench.wall, monotonic=lambda: bench.monotonic)
        for number in (0, 1)
    )
    bench.decide("d-1")
    for joiner in (first, second):
        while joiner.step():
            pass
    assert (first.leads, second.leads) == (True, False)
    bench.passes(WAIT + GRACE + 1)
    while first.step():
        pass
    assert bench.reward("d-1") is not None
    assert bench.reward("d-2") is None
    while second.step():
        pass
    assert bench.reward("d-2") is not None


def test_a_joiner_that_shares_goes_on_when_its_partition_was_taken(bench: Bench) -> None:
    settings = FeedbackSettings(joiner_grace_seconds=GRACE / SECOND)
    old = Joiner(bench.engine, bench.log, settings, Half(0), wall=lambda: bench.wall, monotonic=lambda: 0)
    bench.decide("d-1")
    assert old.step()
    bench.drain()
    bench.decide("d-2")
    answers = iter(turns(3))
    old.run(lambda _: next(answers))
    assert bench.counts() == {"decisions": 2}


def test_a_cluster_without_topics_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.log, "ends", lambda topic: {})
    with pytest.raises(EventLogError, match=r"rewardloop\.feedback, rewardloop\.decisions: run `rewardloop init`"):
        bench.joiner.step()
