"""The controller on a database of either kind: what it reads, and what it does about it."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from benchmarks.joined_rows import rows_of
from services.trainer.rollout_controller import RolloutController
from services.trainer.shadow_reading import ShadowReader
from shared.db.engine import read_session, write_session
from shared.db.tables import DecisionRow, LoopRow, RolloutRow
from shared.domain import Action, Context, Decision, ModelRef, ModelVersion
from shared.eventlog.local import LocalEventLog
from shared.events import SHADOWS, shadow_record
from shared.loop_settings import LoopSettings, RolloutSettings
from shared.pb.events.v1 import events_pb2
from shared.registry.rollouts import read_rollout, read_rollout_events, start_rollout
from shared.registry.versions import add_version, move_alias, read_aliases
from shared.rollouts import Rollout, ShadowScored

SECOND = 1_000_000
TENANT, LOOP = "default", "shoes"
SETTINGS = LoopSettings.model_validate(
    {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}], "reward_wait_time": "PT5S"}
)
SEGMENTED = SETTINGS.model_dump(mode="json") | {
    "modalities": {"title": {"kind": "text"}, "user": {"kind": "tabular"}},
    "fairness": {"segments": ["user.country"]},
}
DECISION = Decision(
    tenant=TENANT,
    loop_id=LOOP,
    decision_id="",
    decided_at=0,
    context={},
    actions=(Action("a"), Action("b")),
    action_id="a",
    probability=0.5,
    probabilities=np.array([0.5, 0.5]),
    seed=1,
    settings_revision=1,
    request_sha256=b"0" * 32,
)


@dataclass
class Stage:
    """A loop with two versions, one of them rolled out, and the traffic that a test makes up."""

    engine: Engine
    rollout: Rollout
    controller: RolloutController
    now: list[int]
    log: LocalEventLog
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    sequence: int = 0

    def decide(
        self,
        count: int,
        rewards: tuple[float, float] = (0.5, 0.5),
        share: float = 0.1,
        of_version: float | None = None,
        context: Context | None = None,
        **changes: object,
    ) -> None:
        """Decisions at one moment; `rewards` are the champion's rate and the version's, `changes` the version's own."""
        with write_session(self.engine) as session:
            current = read_rollout(session, self.rollout.ref)
            assert current is not None
            for _ in range(count):
                in_version = self.chance.random() < (share if of_version is None else of_version)
                self.sequence += 1
                version = 2 if in_version else 1
                decision = replace(
                    DECISION,
                    decision_id=f"d{self.sequence}",
                    decided_at=self.now[0],
                    context=context or {},
                    action_id=self.chance.choice("ab"),
                    model_version=version,
                    assigned_version=version,
                    arm="canary" if in_version else "champion",
                    arm_share=share if in_version else 1 - share,
                    rollout_id=self.rollout.rollout_id,
                    rollout_step=current.step,
                )
                decision = replace(decision, **changes) if in_version else decision  # type: ignore[arg-type] # by name
                reward = float(self.chance.random() < rewards[in_version])
                session.add_all(rows_of(decision, self.sequence, reward))

    def look(self, seconds: float = 6) -> Rollout:
        """What came of it after a while."""
        self.now[0] += round(seconds * SECOND)
        self.controller.look()
        with read_session(self.engine) as session:
            found = read_rollout(session, self.rollout.ref)
        assert found is not None
        return found

    @property
    def events(self) -> list[tuple[str, str | None]]:
        with read_session(self.engine) as session:
            return [(event.kind, event.detail) for event in read_rollout_events(session, self.rollout.ref)]

    @property
    def aliases(self) -> dict[str, int]:
        with read_session(self.engine) as session:
            return {str(pointer.alias): pointer.version for pointer in read_aliases(session)}


def version_row(version: int) -> ModelVersion:
    return ModelVersion(TENANT, LOOP, version, "ready", None, "0" * 64, 0, 1, f"run-{version}", {}, 0)


@pytest.fixture
def stage(engine: Engine, tmp_path: Path) -> Stage:
    now = [1000 * SECOND]
    settings = RolloutSettings.model_validate(
        {"strategy": "progressive", "steps": [10, 50], "step_duration": "PT10S", "max_duration": "PT1H"}
    )
    with write_session(engine) as session:
        dumped = SETTINGS.model_dump(mode="json")
        session.add(LoopRow(tenant=TENANT, loop_id=LOOP, settings=dumped, settings_revision=1, created_at=0))
        session.flush()
        for version in (1, 2):
            add_version(session, version_row(version))
        session.flush()
        move_alias(session, ModelRef(TENANT, LOOP, 1), "champion", now[0])
        rollout = start_rollout(session, ModelRef(TENANT, LOOP, 2), settings, now[0], "test")
    log = LocalEventLog(tmp_path, lambda: now[0])
    return Stage(engine, rollout, RolloutController(engine, lambda: now[0], ShadowReader(log)), now, log)


def test_a_better_version_goes_through_its_steps_and_becomes_the_champion(stage: Stage) -> None:
    stage.decide(1000, (0.5, 0.7))
    # Enough decisions, too soon.
    assert stage.look(6).step == 0
    stage.decide(1500, (0.5, 0.7))
    assert stage.look(6).percent == 50
    stage.decide(1000, (0.5, 0.7), share=0.5)
    rollout = stage.look(11)
    assert (rollout.status, rollout.percent, stage.aliases) == ("promoted", 0, {"champion": 2})
    assert [kind for kind, _ in stage.events] == ["started", "stepped", "promoted"]
    assert rollout.figures["decisions"] == pytest.approx(750, rel=0.1)
    assert float(rollout.figures["difference_lower"] or 0) > 0


def test_a_worse_version_is_rolled_back_with_the_figures_that_decided(stage: Stage) -> None:
    stage.decide(4000, (0.5, 0.35))
    # No reward counts before it had its time to come.
    assert stage.look(4).figures["decisions"] == 0
    rollout = stage.look(2)
    assert (rollout.status, rollout.detail, stage.aliases) == ("rolled_back", "reward", {"champion": 1})
    assert float(rollout.figures["difference_upper"] or 0) < 0
    assert stage.events[-1] == ("rolled_back", "reward")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_version": 1}, "failures"),
        ({"model_version": None, "fallback_reason": "model_unavailable"}, "failures"),
        ({"decided_in": 300_000}, "latency"),
    ],
)
def test_a_version_that_fails_or_is_slow_is_rolled_back_before_any_reward(
    stage: Stage, changes: dict[str, object], reason: str
) -> None:
    for _ in range(40):
        stage.decide(30, **changes)
        rollout = stage.look(1)
        if rollout.status != "running":
            break
    assert (rollout.status, rollout.detail) == ("rolled_back", reason)


def test_a_moment_in_which_a_call_stalls_rolls_nothing_back(stage: Stage) -> None:
    """All decisions of a call are late together: that is one thing that happened."""
    for second in range(40):
        stage.decide(60, decided_in=300_000 if second == 20 else 1000)
        rollout = stage.look(1)
    assert (rollout.status, int(rollout.figures["slow"] or 0) > 0) == ("running", True)


def test_a_version_that_leaves_nothing_to_chance_is_rolled_back_where_the_loop_asks_for_it(stage: Stage) -> None:
    collapsed = {"probabilities": np.array([1.0, 0.0]), "action_id": "a", "probability": 1.0}
    stage.decide(200, **collapsed)
    assert stage.look(1).status == "running"
    guarded = stage.rollout.settings.model_dump(mode="json") | {"guardrails": {"least_entropy": 0.1}}
    with write_session(stage.engine) as session:
        session.get_one(RolloutRow, (TENANT, LOOP, stage.rollout.rollout_id)).settings = guarded
    stage.controller = RolloutController(stage.engine, stage.controller.clock, ShadowReader(stage.log))
    rollout = stage.look(1)
    assert (rollout.status, rollout.detail) == ("rolled_back", "entropy")


@pytest.mark.parametrize(("tolerance", "ended"), [(0.0, ("rolled_back", "fairness")), (1.0, ("running", None))])
def test_a_version_that_is_worse_for_a_segment_is_rolled_back(
    stage: Stage, tolerance: float, ended: tuple[str, str | None]
) -> None:
    """On the whole it earns as much."""
    fair = LoopSettings.model_validate(SEGMENTED)
    guarded = stage.rollout.settings.model_dump(mode="json") | {"guardrails": {"segment_tolerance": tolerance}}
    with write_session(stage.engine) as session:
        session.get_one(LoopRow, (TENANT, LOOP)).settings = fair.model_dump(mode="json")
        session.get_one(RolloutRow, (TENANT, LOOP, stage.rollout.rollout_id)).settings = guarded
    for segment, rewards in (("DE", (0.5, 0.2)), ("FR", (0.5, 0.6)), (None, (0.5, 0.6))):
        context = {} if segment is None else {"user": {"country": segment}}
        stage.decide(700, rewards, share=0.5, context=context)
    rollout = stage.look(6)
    assert (rollout.status, rollout.detail) == ended
    figures = rollout.figures
    assert (figures["segments"], figures["worst_segment"]) == (2, "user.country=DE")
    assert float(figures["worst_segment_difference_upper"] or 0) < 0
    with read_session(stage.engine) as session:
        last = read_rollout_events(session, stage.rollout.ref)[-1]
    assert last.figures.get("worst_segment") == ("user.country=DE" if ended[1] else None)


def test_alarms_stop_it(stage: Stage) -> None:
    stage.decide(600, share=0.1, of_version=0.2)
    rollout = stage.look(1)
    assert (rollout.status, stage.aliases) == ("stopped", {"champion": 1})
    assert str(rollout.detail).startswith("sample ratio mismatch")


def test_actions_that_are_not_drawn_as_logged_stop_it(stage: Stage) -> None:
    stage.decide(1000, probabilities=np.array([0.8, 0.2]), share=0.5)
    assert str(stage.look(1).detail).startswith("propensity mismatch")


def test_without_a_verdict_in_its_time_it_stays_as_it_is(stage: Stage) -> None:
    stage.decide(20)
    rollout = stage.look(3601)
    assert (rollout.status, rollout.percent, stage.aliases) == ("inconclusive", 10, {"champion": 1, "canary": 2})
    # What is surely worse is rolled back all the same.
    stage.decide(4000, (0.5, 0.2))
    assert stage.look(6).status == "rolled_back"


def test_a_controller_that_starts_anew_finds_the_same(stage: Stage) -> None:
    for _ in range(5):
        stage.decide(100)
        stage.look(1)
    seen = stage.look(10).figures
    stage.controller = RolloutController(stage.engine, stage.controller.clock, ShadowReader(stage.log))
    again = stage.look(0).figures
    assert {name: pytest.approx(value) for name, value in seen.items() if value is not None} == {
        name: value for name, value in again.items() if value is not None
    }
    assert seen["decisions"] == again["decisions"] != 0


def test_decisions_that_come_out_of_order_are_counted_once(stage: Stage) -> None:
    stage.decide(50)
    stage.look(3)
    stage.now[0] -= 2 * SECOND
    stage.decide(50)
    figures = stage.look(3).figures
    with read_session(stage.engine) as session:
        canary = sum("canary" in wire_arm(row) for row in session.query(DecisionRow))
    assert figures["assigned"] == canary


def wire_arm(row: DecisionRow) -> str:
    return events_pb2.DecisionMade.FromString(row.payload).arm


@pytest.mark.parametrize(("failing", "status"), [(0.0, "running"), (0.2, "rolled_back")])
def test_a_shadow_that_scores_goes_on_and_one_that_fails_is_rolled_back(
    stage: Stage, failing: float, status: str
) -> None:
    steps = stage.rollout.settings.model_dump(mode="json") | {"steps": [0, 10], "min_decisions": 150}
    with write_session(stage.engine) as session:
        session.get_one(RolloutRow, (TENANT, LOOP, stage.rollout.rollout_id)).settings = steps
    stage.controller = RolloutController(stage.engine, stage.controller.clock, ShadowReader(stage.log))
    assert stage.look(1).percent == 0
    even = np.array([0.5, 0.5])
    records = [
        shadow_record(
            ShadowScored(
                TENANT,
                LOOP,
                f"d{number}",
                stage.rollout.rollout_id,
                2,
                stage.now[0],
                probabilities=None if number < failing * 200 else even,
            )
        )
        for number in range(200)
    ]
    stage.log.append(SHADOWS, records)
    rollout = stage.look(11)
    assert (rollout.status, rollout.percent) == (status, 10 if status == "running" else 0)
    assert rollout.figures["scored"] == 200 - 200 * failing
