"""Heads learn each experience once, in order of sequence, whatever way the log brings it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import OperationalError

from services.policy.deciding import load_version_policy
from services.policy.learning import BATCH, OnlineHeads
from services.policy.observing import Observer
from services.policy.repository import read_unlearned
from shared import wire
from shared.db.engine import open_engine, write_session
from shared.db.tables import DecisionRow, ExperienceRow
from shared.db.upgrading import upgrade
from shared.db.version_states import add_states
from shared.domain import Action, Decision, Experience, ModelRef
from shared.eventlog import Record, StoredRecord
from shared.eventlog.local import LocalEventLog
from shared.events import EXPERIENCES, experience_record
from shared.loop_settings import LoopSettings
from shared.networks.policy import Candidates, Policy
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import LoadedVersions
from shared.registry.manifest import Architecture
from tests.versions import LOOP, TENANT, register

SECOND = 1_000_000
ACTIONS = ["left", "right"]
LISTED = LoopSettings.model_validate(
    {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": one} for one in ACTIONS]}
)
FEATURED = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}})
STATE, ENCODED = Architecture.of(LISTED).state_width, Architecture.of(FEATURED).encoded_width
REF = ModelRef(TENANT, LOOP, 1)


class Served:
    """A registry with version 1 loaded, and an empty log."""

    def __init__(self, folder: Path, settings: LoopSettings) -> None:
        self.engine = open_engine(f"sqlite:///{folder / 'registry.db'}")
        upgrade(self.engine)
        self.store = ArtifactStore(folder / "artifacts")
        register(self.engine, self.store, settings, 1)
        self.loaded = LoadedVersions(self.engine, self.store, "policy", load_version_policy)
        self.loaded.refresh()
        self.log = LocalEventLog(folder / "log", lambda: 1)
        self.monotonic = 0
        self.observer = Observer(CollectorRegistry())

    def heads(self) -> OnlineHeads:
        """As they are when they have looked for the first time."""
        read = partial(read_unlearned, self.engine)
        heads = OnlineHeads(self.loaded, self.log, read, lambda: self.monotonic, self.observer)
        heads.step()
        return heads

    def store_rows(self, rows: Sequence[Experience], *, decided_by: int | None = 1) -> None:
        """What the joiner writes of them, with decisions of a version, and what the feeder writes for version 1."""
        with write_session(self.engine) as session:
            for one in rows:
                session.add(decision_row(one, decided_by))
                session.add(experience_row(one, decided_by))
            if decided_by != 1:
                add_states(session, 1, rows)

    def tell(self, experiences: Sequence[Experience]) -> None:
        self.log.append(EXPERIENCES, [experience_record(one, 1) for one in experiences])

    def sequence(self, heads: OnlineHeads) -> int:
        return heads.current(self.loaded.get(REF)).sequence

    def policy(self, heads: OnlineHeads) -> Policy:
        return heads.current(self.loaded.get(REF)).policy


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path, LISTED)


def experiences(count: int, *, version: int = 1, embedding: bool = False) -> list[Experience]:
    """`right` is right: reward 1 for it, 0 for `left`."""
    generator = np.random.default_rng(0)
    return [
        Experience(
            tenant=TENANT,
            loop_id=LOOP,
            sequence=sequence,
            decision_id=str(sequence),
            decided_at=sequence,
            action_id=ACTIONS[sequence % 2],
            probability=0.5,
            reward=float(sequence % 2),
            model_version=version,
            state=generator.standard_normal(STATE).astype(np.float32),
            action_embedding=generator.standard_normal(ENCODED).astype(np.float32) if embedding else None,
        )
        for sequence in range(1, count + 1)
    ]


def decision_row(one: Experience, version: int | None) -> DecisionRow:
    logged = Decision(
        tenant=TENANT,
        loop_id=LOOP,
        decision_id=one.decision_id,
        decided_at=one.decided_at,
        context={},
        actions=[Action(name) for name in ACTIONS],
        action_id=one.action_id,
        probability=0.5,
        probabilities=np.array([0.5, 0.5]),
        seed=0,
        settings_revision=1,
        request_sha256=bytes(32),
        model_version=version,
        # Another version's: version 1 must not take it for its own.
        state=one.state if version == 1 else np.ones(3, np.float32),
    )
    return DecisionRow(
        tenant=TENANT,
        loop_id=LOOP,
        decision_id=one.decision_id,
        decided_at=one.decided_at,
        action_id=one.action_id,
        probability=0.5,
        model_version=version,
        deferred=False,
        request_sha256=bytes(32),
        payload=wire.decision_to_pb(logged).SerializeToString(),
    )


def experience_row(one: Experience, version: int | None) -> ExperienceRow:
    return ExperienceRow(
        tenant=TENANT,
        loop_id=LOOP,
        sequence=one.sequence,
        decision_id=one.decision_id,
        decided_at=one.decided_at,
        closed_at=one.decided_at,
        closed_by="feedback",
        action_id=one.action_id,
        probability=0.5,
        reward=one.reward,
        model_version=version,
    )


def expected_rewards(policy: Policy) -> list[float]:
    scores = policy.score(torch.ones(1, STATE), Candidates.of([ACTIONS], [[]]), None)
    rewards: list[float] = scores.expected_reward[0].tolist()
    return rewards


def test_what_is_learned_shows_in_the_scores(served: Served) -> None:
    heads = served.heads()
    assert expected_rewards(served.policy(heads)) == [0.0, 0.0]
    served.tell(experiences(200))
    assert heads.step()
    left, right = expected_rewards(served.policy(heads))
    assert served.sequence(heads) == 200
    assert right - left > 0.3


def test_order_and_repeats_in_the_log_do_not_matter(served: Served) -> None:
    rows = experiences(60)
    shuffled = [*rows, *rows[:30]]
    random.Random(7).shuffle(shuffled)
    heads = served.heads()
    for one in shuffled:
        served.tell([one])
        heads.step()
    in_order = Served.heads(served)
    served.tell(rows)
    while in_order.step():
        pass
    assert served.sequence(heads) == served.sequence(in_order) == 60
    assert_allclose(expected_rewards(served.policy(heads)), expected_rewards(served.policy(in_order)), atol=1e-9)


@pytest.mark.parametrize("settings", [LISTED, FEATURED], ids=["listed", "featured"])
def test_a_restated_reward_is_learned_as_if_it_had_come_at_first(tmp_path: Path, settings: LoopSettings) -> None:
    rows = experiences(40, embedding=settings is FEATURED)
    others = [replace(one, reward=0.25 + one.reward / 2) for one in rows]
    restated = [
        replace(other, sequence=40 + one.sequence, restates_sequence=one.sequence, previous_reward=one.reward)
        for one, other in zip(rows, others, strict=True)
    ]
    policies = []
    for folder, told in (("restated", [*rows, *restated]), ("at first", others)):
        served = Served(tmp_path / folder, settings)
        heads = served.heads()
        served.tell(told)
        heads.step()
        assert served.sequence(heads) == len(told)
        policies.append(served.policy(heads))
    after, as_if = (policy._statistics.tensors() for policy in policies)
    assert after.keys() == as_if.keys()
    for name, tensor in after.items():
        assert_allclose(tensor, as_if[name], atol=1e-12)


def test_a_gap_is_waited_for(served: Served) -> None:
    heads, rows = served.heads(), experiences(3)
    served.tell([rows[0], rows[2]])
    heads.step()
    assert served.sequence(heads) == 1
    served.tell([rows[1]])
    heads.step()
    assert served.sequence(heads) == 3


def test_what_the_version_cannot_read_is_passed_over_and_changes_nothing(served: Served) -> None:
    heads, (first,) = served.heads(), experiences(1)
    before = served.policy(heads)
    served.tell([replace(first, state=None)])
    heads.step()
    assert served.sequence(heads) == 1
    assert served.policy(heads) is before


def test_states_of_other_versions_teach_nothing(served: Served) -> None:
    heads = served.heads()
    served.tell(experiences(5, version=2))
    heads.step()
    assert served.sequence(heads) == 0


def test_records_that_are_not_ours_are_passed_over(served: Served) -> None:
    heads = served.heads()
    served.log.append(EXPERIENCES, [Record("x", b"\xff", {"ce_type": b"nonsense"})])
    served.tell(experiences(2))
    heads.step()
    assert served.sequence(heads) == 2


def test_a_version_that_reads_actions_waits_for_their_embeddings(tmp_path: Path) -> None:
    served = Served(tmp_path, FEATURED)
    heads, whole = served.heads(), experiences(4, embedding=True)
    served.tell([replace(one, action_embedding=None) for one in whole])
    heads.step()
    assert served.sequence(heads) == 0
    served.tell(whole)
    heads.step()
    assert served.sequence(heads) == 4


def test_a_loop_made_again_starts_from_what_its_new_version_shipped(served: Served) -> None:
    heads = served.heads()
    served.tell(experiences(10))
    heads.step()
    assert served.sequence(heads) == 10
    served.loaded = LoadedVersions(served.engine, served.store, "policy", load_version_policy)
    served.loaded.refresh()
    assert served.sequence(heads) == 0


class SecondPartition(LocalEventLog):
    """All that it has stands in partition 1, of two."""

    def ends(self, topic: str) -> dict[int, int]:
        return {0: 0, 1: super().ends(topic)[0]}

    def read(self, topic: str, partition: int, offset: int, limit: int) -> list[StoredRecord]:
        found = super().read(topic, 0, offset, limit) if partition == 1 else []
        return [replace(one, position=replace(one.position, partition=1)) for one in found]


def test_a_loop_is_learned_from_whichever_partition_it_stands_in(served: Served, tmp_path: Path) -> None:
    served.log = SecondPartition(tmp_path / "parted", lambda: 1)
    heads = served.heads()
    for half in (experiences(40)[:20], experiences(40)[20:]):
        served.tell(half)
        assert heads.step()
    assert not heads.step()
    assert served.sequence(heads) == 40


def learned_from_the_log(served: Served, rows: Sequence[Experience]) -> list[float]:
    heads = served.heads()
    served.tell(rows)
    while heads.step():
        pass
    return expected_rewards(served.policy(heads))


def test_a_head_that_starts_has_what_the_database_has_and_reads_none_of_it_in_the_log(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = experiences(BATCH + 50)
    expected = learned_from_the_log(served, rows)
    served.store_rows(rows[:600], decided_by=1)
    served.store_rows(rows[600:700], decided_by=2)
    served.store_rows(rows[700:], decided_by=None)
    heads = served.heads()
    monkeypatch.setattr(served.log, "read", pytest.fail)
    while heads.step():
        pass
    assert served.sequence(heads) == len(rows)
    assert_allclose(expected_rewards(served.policy(heads)), expected, atol=1e-9)


def test_what_the_version_was_not_fed_yet_comes_by_the_log(served: Served) -> None:
    rows = experiences(10)
    served.store_rows(rows[:4])
    with write_session(served.engine) as session:
        session.add(decision_row(rows[4], 2))
        session.add(experience_row(rows[4], 2))
    served.store_rows(rows[5:])
    heads = served.heads()
    assert served.sequence(heads) == 4
    served.tell(rows[4:])
    heads.step()
    assert served.sequence(heads) == 10


def test_what_retention_has_dropped_of_the_log_is_read_from_the_database(served: Served) -> None:
    rows = experiences(10)
    heads = served.heads()
    served.store_rows(rows)
    served.tell(rows[7:])
    heads.step()
    served.monotonic += SECOND
    heads.step()
    assert served.sequence(heads) == 10


def test_a_database_that_is_away_keeps_no_head_from_the_log(served: Served) -> None:
    def away(*_: object) -> list[Experience]:
        raise OperationalError("SELECT", {}, Exception("away"))

    rows = experiences(4)
    heads = OnlineHeads(served.loaded, served.log, away, lambda: served.monotonic, Observer(CollectorRegistry()))
    heads.step()
    served.tell(rows)
    heads.step()
    assert served.sequence(heads) == 4
