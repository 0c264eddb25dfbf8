from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.candidates import load_networks
from services.trainer.scoring import held_out_rows, score
from shared.db.engine import write_session
from shared.db.tables import ConsumerOffsetRow, ExperienceRow, LoopRow
from shared.domain import RunRef
from shared.events import MODELS, ModelPublished, event_from_record
from shared.registry.training_runs import take_lease
from tests.unit.services.trainer import bandit
from tests.unit.services.trainer.conftest import FakeClock, Workplace

SECOND = 1_000_000


def initialise(workplace: Workplace, **settings: object) -> None:
    bandit.add_loop(workplace.engine, bandit.settings(**settings))
    assert workplace.do(bandit.add_run(workplace.engine, "initialise")).status == "succeeded"


def test_version_1_knows_nothing_and_serves(workplace: Workplace) -> None:
    initialise(workplace)
    version = workplace.champion()
    assert (version.version, version.parent, version.covers_sequence) == (1, None, 0)
    q_network, statistics = workplace.policy(version)
    assert not q_network.prior_mean().any()
    assert not statistics.outer.any()
    assert not statistics.count.any()


def test_a_second_initialisation_changes_nothing(workplace: Workplace) -> None:
    initialise(workplace)
    assert workplace.do(bandit.add_run(workplace.engine, "initialise")).status == "skipped"
    assert [version.version for version in workplace.versions()] == [1]


def test_a_fine_tune_takes_over_and_its_head_covers_all_it_read(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 400)
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert (run.status, run.version, run.progress, run.steps) == ("succeeded", 2, 1.0, 120)
    version = workplace.champion()
    assert (version.version, version.parent, version.covers_sequence) == (2, 1, 400)
    assert version.metrics["held_out"] == 80.0
    curve = workplace.manifest(version).training_curve
    assert (len(curve), curve[-1].step) == (60, 120)
    assert curve[-1].loss < curve[0].loss
    assert curve[-1].learning_rate < curve[0].learning_rate
    _, statistics = workplace.policy(version)
    assert statistics.count.sum() == 400


def test_a_loop_whose_actions_come_with_each_decision_learns_too(workplace: Workplace) -> None:
    initialise(workplace, actions=[])
    bandit.add_experiences(workplace.engine, 400)
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "succeeded"
    version = workplace.champion()
    assert workplace.manifest(version).architecture.action_features
    _, statistics = workplace.policy(version)
    assert statistics.count.tolist() == [400.0]


def test_what_it_learned_picks_the_right_action(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 500)
    workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    bandit.add_experiences(workplace.engine, 200, seed=1)
    loop, replay = bandit.read_loop_of(workplace.engine), workplace.trainer().replay
    experiences = replay.read(loop, 200, lambda: None)
    decisions = replay.read_decisions(loop, experiences)
    networks = load_networks(workplace.manifest(workplace.champion()), workplace.artifacts)
    _, statistics = workplace.policy(workplace.champion())
    rows = held_out_rows(experiences, decisions, (0.0, 1.0))
    chosen = score(networks, statistics, rows, loop.settings.exploration, lambda: None).expected_rewards.argmax(1)
    right = [bandit.right_action(decisions[one.row.decision_id]) for one in experiences]
    assert np.mean(chosen == right) > 0.85


def test_the_same_log_and_seed_give_the_same_weights_bit_for_bit(workplace: Workplace, tmp_path: Path) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 150)
    first = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    twin = Workplace.open(tmp_path / "twin")
    initialise(twin)
    bandit.add_experiences(twin.engine, 150)
    second = twin.do(bandit.add_run(twin.engine, "fine_tune"))
    assert first.version == second.version == 2
    assert workplace.manifest(workplace.champion()).parts == twin.manifest(twin.champion()).parts
    twin.close()


def test_another_seed_gives_other_weights(workplace: Workplace, tmp_path: Path) -> None:
    initialise(workplace)
    twin = Workplace.open(tmp_path / "twin")
    initialise(twin, learning={"seed": 1})
    assert workplace.manifest(workplace.champion()).parts != twin.manifest(twin.champion()).parts
    twin.close()


def test_a_version_that_is_worse_does_not_take_over(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 400)
    workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    change_settings(workplace, learning={"learning_rate": 1.0, "max_steps": 20})
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "skipped"
    assert run.version == 3
    assert run.detail is not None
    assert run.detail.startswith(("failed", "insufficient_evidence"))
    assert workplace.versions()[0].status == "rejected"
    assert workplace.champion().version == 2


def test_too_few_experiences_are_skipped(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 5)
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert (run.status, run.version, run.detail) == ("skipped", None, "5 experiences are too few")


@pytest.mark.parametrize(("reward", "sequence"), [(float("inf"), 7), (1e300, 7), (1e300, 95)])
def test_rewards_beyond_all_bounds_fail_the_run_and_publish_nothing(
    workplace: Workplace, reward: float, sequence: int
) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 100)
    with write_session(workplace.engine) as session:
        session.get_one(ExperienceRow, (bandit.TENANT, bandit.LOOP_ID, sequence)).reward = reward
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "failed"
    assert run.detail is not None
    assert "loss" in run.detail
    assert workplace.champion().version == 1


def test_a_corrupt_champion_fails_the_run(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 100)
    sha256 = workplace.manifest(workplace.champion()).parts["policy"]
    path = workplace.folder / "artifacts" / sha256[:2] / sha256
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.status == "failed"
    assert "corrupt" in (run.detail or "")


def test_a_fine_tune_waits_until_the_joiner_has_passed_what_it_covers(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 50)
    ref = bandit.add_run(workplace.engine, "fine_tune", decisions=10, feedback=4)
    move_joiner(workplace, decisions=10, feedback=3)
    clock = JoiningClock(workplace, at=5 * SECOND)
    trainer = replace(workplace.trainer(), clock=clock, sleep=clock.sleep)
    trainer.run(ref)
    assert workplace.read(ref).version == 2
    assert 5 * SECOND <= clock.now < 10 * SECOND


def test_a_joiner_that_does_not_come_fails_the_run(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 50)
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune", decisions=10))
    assert (run.status, run.detail) == ("failed", "the joiner is more than 30 s behind")


def test_a_publication_is_announced(workplace: Workplace) -> None:
    initialise(workplace)
    (stored,) = workplace.event_log.read(MODELS, 0, 0, 10)
    event = event_from_record(stored.record)
    assert isinstance(event, ModelPublished)
    assert (event.tenant, event.loop_id, event.version) == (bandit.TENANT, bandit.LOOP_ID, 1)


def test_a_run_whose_worker_died_is_done_again_and_makes_one_version(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 300)
    ref = bandit.add_run(workplace.engine, "fine_tune")
    with write_session(workplace.engine) as session:
        take_lease(session, ref, "dead", workplace.clock(), 30 * SECOND)
    assert workplace.do(ref).status == "running"
    workplace.clock.now += 30 * SECOND
    assert workplace.do(ref).status == "succeeded"
    workplace.do(ref)
    assert [version.version for version in workplace.versions()] == [2, 1]


def test_a_worker_that_lost_its_lease_publishes_nothing(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 100)
    ref = bandit.add_run(workplace.engine, "fine_tune")
    slow = StoppedClock(workplace, ref, after=20)
    replace(workplace.trainer(), clock=slow).run(ref)
    assert [version.version for version in workplace.versions()] == [1]
    assert workplace.read(ref).status == "running"


def test_a_changed_loop_keeps_what_still_fits(workplace: Workplace) -> None:
    initialise(workplace)
    bandit.add_experiences(workplace.engine, 400)
    workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    change_settings(workplace, actions=[{"id": one} for one in ("right", "new", "left")])
    run = workplace.do(bandit.add_run(workplace.engine, "fine_tune"))
    assert run.version == 3
    newest = workplace.manifest(workplace.versions()[0])
    assert newest.architecture.action_ids == ("right", "new", "left")
    assert newest.settings_revision == 2


def change_settings(workplace: Workplace, **settings: object) -> None:
    with write_session(workplace.engine) as session:
        row = session.get_one(LoopRow, (bandit.TENANT, bandit.LOOP_ID))
        row.settings = bandit.settings(**settings).model_dump(mode="json")
        row.settings_revision += 1


def move_joiner(workplace: Workplace, **offsets: int) -> None:
    with write_session(workplace.engine) as session:
        for topic, offset in offsets.items():
            session.merge(ConsumerOffsetRow(consumer="joiner", topic=topic, partition=0, offset=offset, epoch=1))


class JoiningClock(FakeClock):
    """The joiner comes at a moment."""

    def __init__(self, workplace: Workplace, at: int) -> None:
        super().__init__(workplace.clock.now)
        self._workplace, self._at = workplace, at

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.now >= self._at:
            move_joiner(self._workplace, feedback=4)


class StoppedClock(FakeClock):
    """Its process is stopped at a look, for longer than the lease, and another worker takes the run."""

    def __init__(self, workplace: Workplace, ref: RunRef, after: int) -> None:
        super().__init__(workplace.clock.now)
        self._workplace, self._ref, self._left = workplace, ref, after

    def __call__(self) -> int:
        self._left -= 1
        if self._left == 0:
            self.now += 31 * SECOND
            with write_session(self._workplace.engine) as session:
                assert take_lease(session, self._ref, "other", self.now, 30 * SECOND) is not None
        return super().__call__()
