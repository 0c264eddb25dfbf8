"""What a frozen loop joins is held back from those who learn, and given to them afterwards."""

from shared.db.engine import write_session
from shared.db.tables import LoopRow
from shared.domain import Experience
from shared.events import EXPERIENCES, event_from_record
from tests.unit.services.feedback.conftest import LOOP, Bench


def freeze(bench: Bench, frozen_to: str | None) -> None:
    with write_session(bench.engine) as session:
        session.get_one(LoopRow, LOOP).frozen_to = frozen_to


def published(bench: Bench) -> list[int]:
    events = [event_from_record(record) for record in bench.log.records[EXPERIENCES]]
    return [event.sequence for event in events if isinstance(event, Experience)]


def visit(bench: Bench, decision_id: str) -> None:
    bench.decide(decision_id)
    bench.feed(decision_id)
    bench.drain()


def test_its_experiences_are_joined_and_published_once_it_is_unfrozen(bench: Bench) -> None:
    visit(bench, "before")
    freeze(bench, "baseline")
    visit(bench, "meanwhile")
    assert bench.reward("meanwhile") == 1.0
    assert published(bench) == [1]
    bench.start()
    bench.drain()
    assert published(bench) == [1]
    freeze(bench, None)
    visit(bench, "after")
    assert published(bench) == [1, 2, 3]
