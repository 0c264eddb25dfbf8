"""Every version that an alias names is given each experience once, in order, under its own states."""

import threading
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import grpc
import numpy as np
import pytest
from sqlalchemy import Engine, delete, select

from services.feedback.feeding import BATCH, UNTOLD, Feeder
from services.feedback.repository import forget_unnamed, is_there, versions_behind
from services.feedback.windows import LoopKey
from shared import wire
from shared.db.engine import open_engine, read_session, write_session
from shared.db.tables import DecisionRow, ExperienceRow, LoopRow, ModelAliasRow, ModelVersionRow, VersionStateRow
from shared.db.upgrading import upgrade
from shared.domain import Action, Decision, Experience, ModelRef
from shared.eventlog import EventLogError
from shared.events import EXPERIENCES, event_from_record
from shared.loop_settings import LoopSettings
from shared.pb.encoding.v1 import encoding_pb2
from shared.pb.encoding.v1.encoding_pb2_grpc import EncodingServiceStub
from shared.pb.fusion.v1 import fusion_pb2
from shared.pb.fusion.v1.fusion_pb2_grpc import FusionServiceStub
from shared.registry.artifacts import ArtifactStore
from shared.registry.versions import move_alias
from tests.integration.test_joiner import until
from tests.unit.services.feedback.conftest import FakeLog
from tests.versions import LOOP, TENANT, register

LISTED = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}]})
FEATURED = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}})
REFUSED = "unreadable"


class FakeServices:
    """Encoding that gives a title's length, and fusion that passes it on; `away` makes encoding fail."""

    def __init__(self) -> None:
        self.away = False

    def Encode(self, request: encoding_pb2.EncodeRequest, timeout: float) -> encoding_pb2.EncodeResponse:  # noqa: N802
        assert timeout > 0
        if self.away:
            raise grpc.RpcError
        titles = [context.values["title"].text for context in request.contexts]
        embeddings = np.array([[[len(title)]] for title in titles], np.float32)
        actions = np.array([[ord(action.id)] for action in request.actions], np.float32)
        return encoding_pb2.EncodeResponse(
            embeddings=wire.tensor_to_pb(embeddings),
            present=wire.tensor_to_pb(np.ones((len(titles), 1), np.bool_)),
            action_embeddings=wire.tensor_to_pb(actions) if len(actions) else None,
            refusals=[encoding_pb2.Refusal(row=row) for row, title in enumerate(titles) if title == REFUSED],
        )

    def Fuse(self, request: fusion_pb2.FuseRequest, timeout: float) -> fusion_pb2.FuseResponse:  # noqa: N802
        assert timeout > 0
        return fusion_pb2.FuseResponse(states=wire.tensor_to_pb(wire.floats_from_pb(request.embeddings, 3)[:, 0]))


class Fed:
    """A registry, joined experiences, and the feeder over fakes."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = open_engine(f"sqlite:///{folder / 'platform.db'}")
        upgrade(self.engine)
        self.store = ArtifactStore(folder / "artifacts")
        self.log = FakeLog()
        self.services = FakeServices()
        self.joined: SimpleQueue[LoopKey] = SimpleQueue()
        self.sequence = 0
        with write_session(self.engine) as session:
            session.add(LoopRow(tenant=TENANT, loop_id=LOOP, settings={}, settings_revision=1, created_at=1))
        self.feeder = self.restart()

    def restart(self) -> Feeder:
        """Another process: it knows what the database knows."""
        return Feeder(
            self.engine,
            self.log,
            self.store,
            cast("EncodingServiceStub", self.services),
            cast("FusionServiceStub", self.services),
            lambda: 1,
            joined=self.joined,
        )

    def join(self, *titles: str, version: int | None = None) -> None:
        with write_session(self.engine) as session:
            for title in titles:
                self.sequence += 1
                made = decision(self.sequence, title, version)
                payload = wire.decision_to_pb(made).SerializeToString()
                session.add(row_of(made, payload))
                session.add(experience_row(made, self.sequence))
            loop = session.get(LoopRow, (TENANT, LOOP))
            assert loop is not None
            loop.last_sequence = self.sequence

    def positions(self) -> list[int]:
        """Of the versions that the database does not know to have all."""
        with read_session(self.engine) as session:
            return [behind.fed_sequence for behind in versions_behind(session)]

    def told(self) -> list[Experience]:
        events = [event_from_record(record) for record in self.log.records[EXPERIENCES]]
        return [event for event in events if isinstance(event, Experience)]


@pytest.fixture
def fed(tmp_path: Path) -> Fed:
    return Fed(tmp_path)


def decision(number: int, title: str, version: int | None) -> Decision:
    return Decision(
        tenant=TENANT,
        loop_id=LOOP,
        decision_id=str(number),
        decided_at=number,
        context={"title": title},
        actions=[Action("a")],
        action_id="a",
        probability=1.0,
        probabilities=np.ones(1),
        seed=0,
        settings_revision=1,
        request_sha256=bytes(32),
        model_version=version,
        state=None if version is None else np.zeros(1, np.float32),
    )


def row_of(made: Decision, payload: bytes) -> DecisionRow:
    return DecisionRow(
        tenant=TENANT,
        loop_id=LOOP,
        decision_id=made.decision_id,
        decided_at=made.decided_at,
        action_id="a",
        probability=1.0,
        model_version=made.model_version,
        deferred=False,
        request_sha256=made.request_sha256,
        payload=payload,
    )


def experience_row(made: Decision, sequence: int) -> ExperienceRow:
    return ExperienceRow(
        tenant=TENANT,
        loop_id=LOOP,
        sequence=sequence,
        decision_id=made.decision_id,
        decided_at=made.decided_at,
        closed_at=made.decided_at,
        closed_by="feedback",
        action_id="a",
        probability=1.0,
        reward=1.0,
        model_version=made.model_version,
    )


def test_what_no_version_decided_comes_under_the_champion(fed: Fed) -> None:
    fed.join("one", "three")
    assert fed.feeder.step() is False
    register(fed.engine, fed.store, LISTED, 1)
    assert fed.feeder.step() is True
    assert [
        (one.sequence, one.model_version, None if one.state is None else one.state.tolist()) for one in fed.told()
    ] == [(1, 1, [3]), (2, 1, [5])]
    assert fed.feeder.step() is False


def test_what_a_version_decided_itself_is_in_the_log_already(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one", version=1)
    assert fed.feeder.step() is True
    assert fed.told() == []
    assert fed.feeder.step() is False


def test_where_nothing_is_fed_the_position_is_committed_now_and_then_only(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join(*["x"] * (UNTOLD - 1), version=1)
    assert fed.feeder.step() is True
    assert fed.positions() == [0]
    fed.join("x", version=1)
    assert fed.feeder.step() is True
    assert fed.positions() == []
    fed.join("x", version=1)
    fed.join("other", version=None)
    fed.join("x", version=1)
    assert fed.feeder.step() is True
    assert fed.positions() == []
    assert [(one.sequence, one.model_version) for one in fed.told()] == [(UNTOLD + 2, 1)]


def test_a_loop_made_anew_is_fed_from_its_beginning(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("x", "x", version=1)
    fed.feeder.step()
    with write_session(fed.engine) as session:
        for table in (DecisionRow, ExperienceRow, ModelVersionRow, ModelAliasRow):
            session.execute(delete(table))
    fed.sequence = 0
    fed.join("anew")
    register(fed.engine, fed.store, FEATURED, 1)
    fed.feeder.step()
    assert [one.sequence for one in fed.told()] == [1]


def test_a_new_champion_gets_what_lies_beyond_its_statistics(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join(*["x"] * 305, version=1)
    register(fed.engine, fed.store, LISTED, 2, experienced=True)  # covers 300
    while fed.feeder.step():
        pass
    assert [(one.sequence, one.model_version) for one in fed.told()] == [(number, 2) for number in range(301, 306)]


def test_more_than_a_batch_comes_in_order_and_once(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join(*["x"] * (2 * BATCH + 5))
    while fed.feeder.step():
        pass
    assert [one.sequence for one in fed.told()] == list(range(1, 2 * BATCH + 6))


def test_a_refused_context_is_told_without_a_state(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one", REFUSED)
    fed.feeder.step()
    assert [one.state is None for one in fed.told()] == [False, True]


def test_a_version_that_reads_actions_gets_them_for_its_own_decisions_too(fed: Fed) -> None:
    register(fed.engine, fed.store, FEATURED, 1)
    fed.join("one", version=1)
    fed.feeder.step()
    (told,) = fed.told()
    assert told.action_embedding is not None
    assert list(told.action_embedding) == [ord("a")]


def test_nothing_is_passed_over_while_encoding_is_away(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one")
    fed.services.away = True
    with pytest.raises(grpc.RpcError):
        fed.feeder.step()
    assert fed.positions() == [0]
    fed.services.away = False
    fed.feeder.step()
    assert [one.sequence for one in fed.told()] == [1]


def test_what_is_told_is_fed_at_once_and_idle_loops_are_left_alone(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one")
    assert fed.feeder.step([(TENANT, "another")]) is False
    assert fed.feeder.step([]) is False
    assert fed.feeder.step([(TENANT, LOOP)]) is True
    assert [one.sequence for one in fed.told()] == [1]


def test_a_feeder_that_runs_feeds_what_it_is_told_and_what_others_have_joined(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    stop = threading.Event()
    running = threading.Thread(target=fed.feeder.run, args=(stop,))
    running.start()
    try:
        for number in range(1, 4):
            fed.join(str(number))
            if number == 2:
                fed.joined.put((TENANT, LOOP))
            until(lambda expected=number: len(fed.told()) == expected, "the experience is fed")
    finally:
        stop.set()
        running.join()
    assert [one.sequence for one in fed.told()] == [1, 2, 3]


def states(fed: Fed, version: int) -> list[tuple[int, list[float] | None]]:
    of = VersionStateRow
    with read_session(fed.engine) as session:
        rows = session.execute(select(of.sequence, of.state).where(of.version == version).order_by(of.sequence))
        return [(number, None if data is None else np.frombuffer(data, "<f4").tolist()) for number, data in rows]


def test_what_is_fed_is_kept_before_the_log_has_it(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one", REFUSED)
    fed.log.refuses = {EXPERIENCES}
    with pytest.raises(EventLogError):
        fed.feeder.step()
    assert states(fed, 1) == [(1, [3.0]), (2, None)]
    fed.log.refuses = set()
    fed.feeder.step()
    assert [one.sequence for one in fed.told()] == [1, 2]


def test_states_go_with_their_version_and_come_again_with_it(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one")
    fed.feeder.step()
    register(fed.engine, fed.store, LISTED, 2)
    register(fed.engine, fed.store, LISTED, 3)
    with write_session(fed.engine) as session:
        forget_unnamed(session)
    assert states(fed, 1) == []
    with write_session(fed.engine) as session:
        move_alias(session, ModelRef(TENANT, LOOP, 1), "champion", 1)
    restarted = fed.restart()
    while restarted.step():
        pass
    assert states(fed, 1) == [(1, [3.0])]
    assert [(one.sequence, one.model_version) for one in fed.told()] == [(1, 1), (1, 1)]


def test_another_version_of_the_same_name_is_told_apart(fed: Fed) -> None:
    register(fed.engine, fed.store, LISTED, 1)
    fed.join("one")
    with write_session(fed.engine) as session:
        (now,) = versions_behind(session)
        assert is_there(session, now)
        assert not is_there(session, replace(now, manifest_sha256="0" * 64))
