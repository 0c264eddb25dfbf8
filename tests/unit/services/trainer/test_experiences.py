from collections.abc import Sequence
from io import BytesIO

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


def test_a_restated_decision_counts_once_by_its_newest_revision_in_its_old_place(workplace: Workplace) -> None:
    bandit.add_loop(workplace.engine, bandit.settings())
    bandit.add_experiences(workplace.engine, 5)
    with write_session(workplace.engine) as session:
        first = session.query(ExperienceRow).filter_by(sequence=2).one()
        for revision, reward in ((2, 7.0), (3, 9.0)):
            columns = {column.name: getattr(first, column.name) for column in ExperienceRow.__table__.columns}
            restated = {"sequence": 4 + revision, "revision": revision, "superseded": revision == 2}
            session.add(ExperienceRow(**columns | restated | {"reward": reward, "restates_sequence": 2}))
        first.superseded = True
    replay, loop = Replay(workplace.engine, decode_all, workplace.artifacts.get), bandit.read_loop_of(workplace.engine)
    rows = [one.row for one in replay.read(loop, 1000, lambda: None)]
    assert [(row.first_sequence, row.sequence) for row in rows] == [(1, 1), (2, 7), (3, 3), (4, 4), (5, 5)]
    assert rows[1].reward == 9.0


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
