from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from services.trainer.experiences import Replay
from shared import wire
from shared.db.engine import write_session
from shared.db.tables import DecisionRow, ExperienceRow
from shared.domain import Context, Media
from shared.networks.media_decoder import Decoded, EncodedMedia, decode_all
from shared.pb.events.v1 import events_pb2
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import Workplace


class CountingDecoder:
    def __init__(self) -> None:
        self.decoded = 0

    def __call__(self, media: Sequence[EncodedMedia]) -> list[Decoded]:
        self.decoded += len(media)
        return decode_all(media)


@pytest.fixture
def photos(workplace: Workplace) -> Workplace:
    """A loop of pictures; the bytes of the even ones stand in the artifact store only."""
    bandit.add_loop(workplace.engine, bandit.settings(modalities={"photo": {"kind": "image"}}))
    bandit.add_experiences(workplace.engine, 150)
    with write_session(workplace.engine) as session:
        for number, row in enumerate(session.query(DecisionRow).order_by(DecisionRow.decided_at)):
            data = png(number)
            media = Media("image/png", workplace.artifacts.put(data), None if number % 2 == 0 else data)
            row.payload = with_context(row.payload, {"photo": media})
    return workplace


def png(shade: int) -> bytes:
    file = BytesIO()
    Image.new("L", (8, 8), shade).save(file, "PNG")
    return file.getvalue()


def with_context(payload: bytes, context: Context) -> bytes:
    message = events_pb2.DecisionMade.FromString(payload)
    message.context.CopyFrom(wire.context_to_pb(context))
    return message.SerializeToString()


def restate(workplace: Workplace, first_sequence: int, reward: float) -> None:
    """The next revision of a decision's experience, with the loop's next sequence."""
    with write_session(workplace.engine) as session:
        rows = session.query(ExperienceRow).order_by(ExperienceRow.sequence).all()
        now = next(
            one for one in rows if first_sequence in (one.sequence, one.restates_sequence) and not one.superseded
        )
        columns = {column.name: getattr(now, column.name) for column in ExperienceRow.__table__.columns}
        restated = {"sequence": rows[-1].sequence + 1, "revision": now.revision + 1, "superseded": False}
        session.add(ExperienceRow(**columns | restated | {"reward": reward, "restates_sequence": first_sequence}))
        now.superseded = True


def test_a_restated_decision_counts_once_by_its_newest_revision_in_its_old_place(workplace: Workplace) -> None:
    bandit.add_loop(workplace.engine, bandit.settings())
    bandit.add_experiences(workplace.engine, 5)
    restate(workplace, 2, 7.0)
    restate(workplace, 2, 9.0)
    replay, loop = Replay(workplace.engine, decode_all, workplace.artifacts.get), bandit.read_loop_of(workplace.engine)
    rows = [one.row for one in replay.read(loop, 1000, lambda: None)]
    assert [(row.first_sequence, row.sequence) for row in rows] == [(1, 1), (2, 7), (3, 3), (4, 4), (5, 5)]
    assert rows[1].reward == 9.0


def test_what_followed_is_known_where_the_oldest_decision_was_restated(workplace: Workplace) -> None:
    bandit.add_loop(workplace.engine, bandit.settings(problem_type="episodic"))
    bandit.add_experiences(workplace.engine, 4)
    with write_session(workplace.engine) as session:
        decisions = session.query(DecisionRow).order_by(DecisionRow.decided_at).all()
        for before, after in pairwise(decisions):
            after.previous_decision_id = before.decision_id
    restate(workplace, 1, 9.0)
    replay, loop = Replay(workplace.engine, decode_all, workplace.artifacts.get), bandit.read_loop_of(workplace.engine)
    assert [one.next_state is not None for one in replay.read(loop, 1000, lambda: None)] == [True, True, True, False]


def test_pictures_are_found_inline_and_in_the_store_and_decoded_once(photos: Workplace) -> None:
    decoder = CountingDecoder()
    replay, loop = Replay(photos.engine, decoder, photos.artifacts.get), bandit.read_loop_of(photos.engine)
    first = replay.read(loop, 1000, lambda: None)
    assert [one.row.sequence for one in first] == list(range(1, 151))
    assert [np.unique(one.features["photo"]).tolist() for one in first] == [[shade] for shade in range(150)]  # type: ignore[arg-type] # arrays
    replay.read(loop, 1000, lambda: None)
    assert decoder.decoded == 150


def test_the_newest_are_read_where_there_are_more(photos: Workplace) -> None:
    replay = Replay(photos.engine, decode_all, photos.artifacts.get)
    newest = replay.read(bandit.read_loop_of(photos.engine), 10, lambda: None)
    assert [one.row.sequence for one in newest] == list(range(141, 151))


def test_what_is_kept_takes_the_rewards_of_today(photos: Workplace) -> None:
    replay, loop = Replay(photos.engine, decode_all, photos.artifacts.get), bandit.read_loop_of(photos.engine)
    replay.read(loop, 1000, lambda: None)
    with write_session(photos.engine) as session:
        session.get_one(ExperienceRow, (bandit.TENANT, bandit.LOOP_ID, 5)).reward = 0.25
    assert replay.read(loop, 1000, lambda: None)[4].row.reward == 0.25


def test_a_picture_that_is_lost_is_a_modality_that_is_missing(photos: Workplace) -> None:
    with write_session(photos.engine) as session:
        row = session.query(DecisionRow).order_by(DecisionRow.decided_at).first()
        assert row is not None
        row.payload = with_context(row.payload, {"photo": Media("image/png", "0" * 64)})
    experiences = Replay(photos.engine, decode_all, photos.artifacts.get).read(
        bandit.read_loop_of(photos.engine), 1000, lambda: None
    )
    assert experiences[0].features == {}
    assert len(experiences) == 150


def test_loops_beyond_the_bound_are_forgotten(photos: Workplace) -> None:
    decoder = CountingDecoder()
    replay = Replay(photos.engine, decoder, photos.artifacts.get, loops=0)
    for _ in range(2):
        replay.read(bandit.read_loop_of(photos.engine), 1000, lambda: None)
    assert decoder.decoded == 300
