"""Several processes that write one PostgreSQL at the same time: what SQLite's single writer gives, locks give here."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.feedback.repository import SettingsCache, read_restatement
from services.feedback.repository.writing import take_sequences
from services.feedback.sharing import Shared
from services.gateway.authentication import ensure_bootstrap_key
from services.gateway.repository import add_key, add_media, delete_loop, read_keys, save_loop
from services.gateway.settings import GatewaySettings
from services.trainer.drifting import DriftWatch
from services.trainer.scheduling import schedule
from shared.db.engine import open_engine, read_session, write_session
from shared.db.loops import keep_loop
from shared.db.tables import ApiKeyRow, ExperienceRow, LoopRow, MediaRow, RestatementRow, TrainingRunRow
from shared.domain import RunRef
from shared.loop_settings import LoopSettings
from shared.registry.training_runs import request_run, take_lease
from shared.registry.versions import next_version

LOOP = ("acme", "news")
NOW = 1_764_072_000_000_000
WRITERS = 6


def settings(weight: float = 1.0) -> LoopSettings:
    body = {"modalities": {"title": {"kind": "text"}}, "reward": {"metrics": {"click": {"weight": weight}}}}
    return LoopSettings.model_validate(body)


@pytest.fixture
def engine(empty_postgresql: Engine) -> Engine:
    """With one loop."""
    with write_session(empty_postgresql) as session:
        save_loop(session, *LOOP, settings(), NOW)
    return empty_postgresql


def at_once(engine: Engine, write: Callable[[Session, int], object]) -> list[object]:
    """What each of some writers gets that all begin their transactions before any ends its own."""
    begun = threading.Barrier(WRITERS)

    def run(writer: int) -> object:
        with write_session(engine) as session:
            session.execute(text("SELECT 1"))
            begun.wait()
            return write(session, writer)

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(run, range(WRITERS)))


def is_waiting(engine: Engine) -> bool:
    """Whether some session waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with read_session(engine) as session:
        return bool(session.execute(text(query)).scalar())


def waits(engine: Engine, future: Future[object]) -> bool:
    while not future.done():
        if is_waiting(engine):
            return True
    return False


def test_a_loop_that_many_make_is_made_once(engine: Engine) -> None:
    made = at_once(engine, lambda session, _: save_loop(session, "acme", "shoes", settings(), NOW)[1])
    assert sorted(map(bool, made)) == [False] * (WRITERS - 1) + [True]


def test_every_change_of_a_loop_has_a_revision_of_its_own(engine: Engine) -> None:
    def change(session: Session, writer: int) -> tuple[int, LoopSettings]:
        loop, _ = save_loop(session, *LOOP, settings(2.0 + writer), NOW)
        return loop.settings_revision, loop.settings

    revisions = at_once(engine, change)
    assert sorted(revision for revision, _ in revisions) == list(range(2, WRITERS + 2))
    with read_session(engine) as session:
        row = session.get_one(LoopRow, LOOP)
        asked = session.get_one(RestatementRow, LOOP)
        assert (row.settings_revision, LoopSettings.model_validate(row.settings)) == max(
            revisions, key=lambda one: one[0]
        )
        assert asked.settings_revision == WRITERS + 1


def test_runs_that_many_ask_for_are_one(engine: Engine) -> None:
    runs = at_once(engine, lambda session, n: request_run(session, *LOOP, "fine_tune", {"decisions": n}, NOW).ref)
    assert len(set(runs)) == 1
    with read_session(engine) as session:
        assert session.scalars(select(TrainingRunRow)).one().covers == {"decisions": WRITERS - 1}


def test_a_due_fine_tune_is_asked_for_once(engine: Engine) -> None:
    with write_session(engine) as session:
        session.get_one(LoopRow, LOOP).last_sequence = 10_000
    due = at_once(engine, lambda session, _: schedule(session, NOW, DriftWatch()))
    assert sum(bool(refs) for refs in due) == 1


def test_of_a_loops_runs_one_is_leased(engine: Engine) -> None:
    with write_session(engine) as session:
        row = {"kind": "fine_tune", "status": "queued", "requested_at": NOW, "covers": {}}
        session.add_all(
            TrainingRunRow(tenant=LOOP[0], loop_id=LOOP[1], training_run_id=f"{n}", **row) for n in range(WRITERS)
        )
    leases = at_once(engine, lambda session, n: take_lease(session, RunRef(*LOOP, f"{n}"), f"worker-{n}", NOW, 1_000))
    assert sum(lease is not None for lease in leases) == 1


def test_sequences_have_no_gap_though_some_writers_fail(engine: Engine) -> None:
    taken: list[int] = []

    def join(session: Session, writer: int) -> None:
        mine = list(take_sequences(session, LOOP, writer + 1))
        if writer % 3 == 0:
            session.rollback()
        else:
            taken.extend(mine)

    at_once(engine, join)
    assert sorted(taken) == list(range(1, len(taken) + 1))


def test_of_the_last_manage_keys_one_stays(engine: Engine) -> None:
    """As the route does it: who is left is read under the lock that the revocation needs."""
    with write_session(engine) as session:
        keys = [add_key(session, "acme", "manage", bytes([n] * 32), NOW).key_id for n in range(WRITERS)]

    def revoke(session: Session, writer: int) -> bool:
        live = {key.key_id for key in read_keys(session, lock=True) if key.revoked_at is None}
        if live == {keys[writer]}:
            return False
        session.get_one(ApiKeyRow, ("acme", keys[writer])).revoked_at = NOW
        return True

    assert at_once(engine, revoke).count(False) == 1


def test_gateways_that_start_together_make_one_first_key(engine: Engine, tmp_path: Path) -> None:
    settings = GatewaySettings(home=tmp_path)
    with ThreadPoolExecutor(WRITERS) as threads:
        list(threads.map(lambda _: ensure_bootstrap_key(engine, settings, lambda: NOW), range(WRITERS)))
    with read_session(engine) as session:
        assert len(read_keys(session)) == 1


def test_media_that_many_store_stand_there_once(engine: Engine) -> None:
    at_once(engine, lambda session, n: add_media(session, "acme", "a" * 64, f"image/{n}", 1, NOW))
    with read_session(engine) as session:
        assert len(session.scalars(select(MediaRow)).all()) == 1


def test_versions_are_numbered_one_after_the_other(engine: Engine) -> None:
    """The number is held until the transaction that registers it ends."""
    with ThreadPoolExecutor(1) as thread, write_session(engine) as session:
        next_version(session, *LOOP)
        other = thread.submit(lambda: _in_a_transaction(engine, lambda session: next_version(session, *LOOP)))
        assert waits(engine, other)
        session.commit()
    assert other.result() == 1


def test_a_loop_is_deleted_with_what_is_being_written_of_it(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as thread, write_session(engine) as session:
        assert keep_loop(session, *LOOP)
        deletion = thread.submit(lambda: _in_a_transaction(engine, lambda session: delete_loop(session, *LOOP)))
        assert waits(engine, deletion)
        session.add(_experience(1))
        session.commit()
    deletion.result()
    with read_session(engine) as session:
        assert session.scalars(select(ExperienceRow)).all() == []
    with write_session(engine) as session:
        assert not keep_loop(session, *LOOP)


def test_a_restatement_begins_after_whoever_joins_by_the_reward_before(engine: Engine) -> None:
    with ThreadPoolExecutor(1) as thread, write_session(engine) as joiner:
        SettingsCache().read(joiner, [LOOP])
        _in_a_transaction(engine, lambda session: save_loop(session, *LOOP, settings(2.0), NOW))
        begun = thread.submit(lambda: _in_a_transaction(engine, _until_sequence))
        assert waits(engine, begun)
        list(take_sequences(joiner, LOOP, 3))
        joiner.commit()
    assert begun.result() == 3


def test_a_connection_that_the_server_ended_is_replaced(postgresql_url: str) -> None:
    engine, other = open_engine(postgresql_url), open_engine(postgresql_url)
    with read_session(engine) as session:
        first = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
    with read_session(engine) as session:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() != first
    engine.dispose()
    other.dispose()


def test_reading_sees_one_state_and_writes_nothing(engine: Engine) -> None:
    with read_session(engine) as session:
        before = session.get_one(LoopRow, LOOP).settings_revision
        _in_a_transaction(engine, lambda session: save_loop(session, *LOOP, settings(2.0), NOW))
        assert session.scalar(select(LoopRow.settings_revision)) == before
    with pytest.raises(Exception, match="read-only"), read_session(engine) as session:
        session.execute(text("DELETE FROM loops"))


def _in_a_transaction(engine: Engine, write: Callable[[Session], object]) -> object:
    with write_session(engine) as session:
        return write(session)


def _until_sequence(session: Session) -> int | None:
    row = read_restatement(session, LOOP)
    assert row is not None
    return row.until_sequence


def _experience(sequence: int) -> ExperienceRow:
    return ExperienceRow(
        tenant=LOOP[0],
        loop_id=LOOP[1],
        sequence=sequence,
        decision_id="d",
        decided_at=NOW,
        closed_at=NOW,
        closed_by="timeout",
        action_id="a",
        reward=0.0,
    )


def test_what_a_joiner_has_locked_is_free_once_it_is_silent(engine: Engine) -> None:
    """Frozen in mid-transaction, it would keep its lock for good where the server waits for the rest of a message."""
    url, now = engine.url.render_as_string(hide_password=False), 0
    frozen_engine, heir_engine = open_engine(url, "frozen"), open_engine(url, "heir", lock_seconds=1)
    heir = Shared(heir_engine, "heir", 1_000_000, lambda: now)
    Shared(frozen_engine, "frozen", 1_000_000, lambda: now).of({0})
    lock = text("LOCK TABLE loops IN EXCLUSIVE MODE")
    with frozen_engine.connect() as frozen:
        frozen.execute(lock)
        heir.of({0, 1})
        with pytest.raises(OperationalError, match="lock timeout"), write_session(heir_engine) as session:
            session.execute(lock)
        now = 2_000_000
        assert heir.of({0, 1}) == {0, 1}
        with write_session(heir_engine) as session:
            session.execute(lock)
        with pytest.raises(OperationalError):
            frozen.execute(text("SELECT 1"))
    frozen_engine.dispose()
    heir_engine.dispose()
