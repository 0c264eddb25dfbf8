"""Claims on partitions, and what becomes of the old ones."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from shared.db.engine import read_session, write_session
from shared.db.offsets import (
    Claim,
    FencedError,
    as_covers,
    covers,
    move_offsets,
    read_claims,
    read_offsets,
    take_over,
)

PARTITIONS = [("rewardloop.decisions", 0), ("rewardloop.feedback", 0), ("rewardloop.feedback", 1)]


def claim(engine: Engine) -> list[Claim]:
    with write_session(engine) as session:
        return take_over(session, "joiner", PARTITIONS)


def test_a_new_consumer_starts_at_the_beginning(engine: Engine) -> None:
    assert claim(engine) == [Claim("joiner", topic, partition, 0, 1) for topic, partition in PARTITIONS]


def test_offsets_are_kept_for_the_next_process(engine: Engine) -> None:
    first = claim(engine)
    with write_session(engine) as session:
        move_offsets(session, [replace(one, offset=7 + one.partition) for one in first])
    with read_session(engine) as session:
        assert read_offsets(session) == {"rewardloop.decisions": {0: 7}, "rewardloop.feedback": {0: 7, 1: 8}}
        assert read_offsets(session, "relay") == {}
        assert [one.offset for one in read_claims(session, first)] == [7, 7, 8]
    assert [(one.offset, one.epoch) for one in claim(engine)] == [(7, 2), (7, 2), (8, 2)]


def test_whoever_was_taken_over_from_is_refused_and_writes_nothing(engine: Engine) -> None:
    old, new = claim(engine), claim(engine)
    with (
        pytest.raises(FencedError, match=r"another joiner has taken over rewardloop\.decisions since epoch 1"),
        write_session(engine) as session,
    ):
        move_offsets(session, [replace(one, offset=5) for one in old])
    with read_session(engine) as session:
        with pytest.raises(FencedError):
            read_claims(session, old)
        assert read_claims(session, new) == new


@pytest.mark.parametrize(
    ("read", "covered"),
    [({0: 3, 1: 2}, True), ({0: 9, 1: 1}, False), ({0: 3}, False), ({}, False)],
)
def test_what_a_run_covers_is_passed_when_each_partition_is(read: dict[int, int], covered: bool) -> None:
    wanted = as_covers({"rewardloop.feedback": {0: 3, 1: 2}})
    assert wanted == {"rewardloop.feedback/0": 3, "rewardloop.feedback/1": 2}
    assert covers({"rewardloop.feedback": read}, wanted) is covered


def test_a_run_that_was_requested_without_partitions_means_the_first() -> None:
    assert covers({"rewardloop.feedback": {0: 3}}, {"rewardloop.feedback": 3})
    assert not covers({"rewardloop.feedback": {0: 2, 1: 5}}, {"rewardloop.feedback": 3})
