"""Joiners that share partitions: who reads what, and what becomes of the share of one that is gone."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from services.feedback.sharing import Alone, Shared
from shared.db.engine import open_engine
from shared.db.tables import Base

LEASE = 5_000_000
PARTITIONS = {0, 1, 2, 3, 4}


class Joiners:
    """Joiners by name, each with a clock that began at a time of its own."""

    def __init__(self) -> None:
        self.engine: Engine = open_engine("sqlite://")
        Base.metadata.create_all(self.engine)
        self.now = 0

    def join(self, name: str, began: int = 0) -> Shared:
        return Shared(self.engine, name, LEASE, lambda: self.now + began)

    def pass_by(self, microseconds: int, *living: Shared) -> None:
        """Time passes in steps of a beat, in which the living look."""
        for _ in range(0, microseconds, LEASE // 10):
            self.now += LEASE // 10
            for one in living:
                one.of(PARTITIONS)


@pytest.fixture
def joiners() -> Iterator[Joiners]:
    joiners = Joiners()
    yield joiners
    joiners.engine.dispose()


def test_one_that_is_alone_has_all_of_them(joiners: Joiners) -> None:
    assert joiners.join("a").of(PARTITIONS) == PARTITIONS == Alone().of(PARTITIONS)


def test_each_partition_is_one_joiners(joiners: Joiners) -> None:
    members = [joiners.join(name, began) for name, began in (("a", 0), ("b", 10**12), ("c", -(10**12)))]
    joiners.pass_by(LEASE, *members)
    shares = [one.of(PARTITIONS) for one in members]
    assert sorted(number for share in shares for number in share) == sorted(PARTITIONS)
    assert [len(share) for share in shares] == [2, 2, 1]


def test_the_share_of_one_that_is_silent_goes_to_the_others_after_its_lease(joiners: Joiners) -> None:
    living, silent = joiners.join("a"), joiners.join("b")
    joiners.pass_by(LEASE, living, silent)
    joiners.pass_by(LEASE, living)
    assert living.of(PARTITIONS) == {0, 2, 4}
    joiners.pass_by(LEASE, living)
    assert living.of(PARTITIONS) == PARTITIONS
    # It wakes up and takes part again.
    joiners.pass_by(LEASE, living, silent)
    assert silent.of(PARTITIONS) == {1, 3}


def test_the_share_of_one_that_left_goes_to_the_others_at_their_next_look(joiners: Joiners) -> None:
    staying, leaving = joiners.join("a"), joiners.join("b")
    joiners.pass_by(LEASE, staying, leaving)
    leaving.leave()
    assert staying.of(PARTITIONS) == {0, 2, 4}
    staying.look_again()
    assert staying.of(PARTITIONS) == PARTITIONS
