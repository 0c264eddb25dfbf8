"""Garbage collection: what anything needs stays; cut off anywhere, it loses nothing and goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from shared.db.engine import open_engine, read_session, write_session
from shared.db.tables import DecisionRow, LoopRow, ModelArtifactRow, ModelVersionRow
from shared.db.upgrading import upgrade
from shared.domain import ModelRef, ModelVersion, Retention
from shared.evaluation.settings import EvaluationSettings
from shared.eventlog import Record
from shared.eventlog.local import LocalEventLog
from shared.events import DECISIONS
from shared.loop_settings import LoopSettings, RolloutSettings
from shared.registry import model_artifacts
from shared.registry.artifacts import ArtifactError, ArtifactStore
from shared.registry.collection import Collector
from shared.registry.evaluations import request_evaluation
from shared.registry.model_artifacts import delete_unneeded, hold_artifacts, store_parts
from shared.registry.rollouts import end_rollout, start_rollout
from shared.registry.training_runs import request_run, take_lease
from shared.registry.versions import add_version, move_alias, read_version
from tests.versions import LOOP, TENANT, manifest_of

DAY = 86_400_000_000
START = 1000 * DAY
SETTINGS = LoopSettings.model_validate(
    {"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}, {"id": "b"}]}
)
CANARY = RolloutSettings(strategy="canary")


class Registry:
    """A database, a store and a log; `at` is now."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = open_engine(f"sqlite:///{folder / 'rewardloop.db'}")
        upgrade(self.engine)
        self.store = ArtifactStore(folder / "artifacts")
        self.at = START
        self.log = LocalEventLog(folder / "eventlog", lambda: self.at)
        self.collector = Collector(self.engine, self.store, self.log, Retention(versions=1, least_age=DAY))
        with write_session(self.engine) as session:
            body = SETTINGS.model_dump(mode="json")
            session.add(
                LoopRow(tenant=TENANT, loop_id=LOOP, settings=body, settings_revision=1, created_at=0, online_at=None)
            )

    def add(self, version: int, weights: str | None = None, *, ready: bool = True) -> ModelRef:
        """A version as a publisher brings it; its policy is its own, the rest all have."""
        ref = ModelRef(TENANT, LOOP, version)
        own = (weights or f"policy {version}").encode()
        files = {"encoding": b"encoder", "fusion": b"fusion", "policy": own}
        parts = store_parts(self.engine, self.store, files, self.at)  # type: ignore[arg-type] # they are parts
        manifest = manifest_of(SETTINGS, ref, parts)
        with write_session(self.engine) as session:
            hold_artifacts(session, self.store, parts.values(), self.at)
            sha256 = self.store.put(manifest.model_dump_json().encode())
            status = "ready" if ready else "rejected"
            run = manifest.training_run_id
            add_version(session, ModelVersion(*_key(ref), status, None, sha256, 0, 1, run, {}, self.at))  # type: ignore[arg-type] # one of two
        return ref

    def name(self, version: int, alias: str = "champion") -> None:
        with write_session(self.engine) as session:
            move_alias(session, ModelRef(TENANT, LOOP, version), alias, self.at)  # type: ignore[arg-type] # an alias

    def decide(self, version: int, decision_id: str = "d") -> None:
        with write_session(self.engine) as session:
            session.add(
                DecisionRow(
                    tenant=TENANT,
                    loop_id=LOOP,
                    decision_id=decision_id,
                    decided_at=self.at,
                    action_id="a",
                    probability=0.5,
                    model_version=version,
                    deferred=False,
                    request_sha256=b"",
                    payload=b"",
                )
            )

    def collect(self) -> tuple[int, ...]:
        found = self.collector.collect(TENANT, LOOP, self.at).versions
        self.collector.delete_files(self.at)
        return found

    def has_weights(self, version: int) -> bool:
        return ArtifactStore.sha256_of(f"policy {version}".encode()) in self.store


def _key(ref: ModelRef) -> tuple[str, str, int]:
    return ref.tenant, ref.loop_id, ref.version


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Versions 1, which nothing needs, and 9, the newest; two days ago."""
    registry = Registry(tmp_path)
    registry.add(1)
    registry.add(9)
    registry.at += 2 * DAY
    return registry


def needed_by(registry: Registry, act: Callable[[], object]) -> bool:
    """Whether what was done keeps version 1, long after."""
    act()
    return registry.collect() == () and registry.has_weights(1)


def test_what_nothing_needs_gives_up_its_weights_and_keeps_its_lineage(registry: Registry) -> None:
    assert registry.collect() == (1,)
    assert (registry.has_weights(1), registry.has_weights(9)) == (False, True)
    with read_session(registry.engine) as session:
        version = read_version(session, ModelRef(TENANT, LOOP, 1))
    assert version is not None
    assert version.status == "collected"
    assert b'"settings"' in registry.store.get(version.manifest_sha256)
    # What other versions have too is there.
    assert registry.store.get(ArtifactStore.sha256_of(b"encoder")) == b"encoder"
    assert registry.collect() == ()


def test_an_alias_a_rollout_and_its_way_back_need_a_version(registry: Registry) -> None:
    for version in (2, 3, 4, 5):
        registry.add(version)
    registry.at -= DAY
    registry.name(1)
    with write_session(registry.engine) as session:
        for version in (2, 3):
            rollout = start_rollout(session, ModelRef(TENANT, LOOP, version), CANARY, registry.at, "test")
            end_rollout(session, rollout.ref, "promoted", registry.at, "test")
        start_rollout(session, ModelRef(TENANT, LOOP, 4), CANARY, registry.at, "test")
    registry.at += 3 * DAY
    # 3 is the champion, over 2, over 1; 4 is the canary.
    assert registry.collect() == (5,)


def test_a_logged_decision_needs_its_version(registry: Registry) -> None:
    assert needed_by(registry, lambda: registry.decide(1))


def test_a_decision_that_waits_to_be_joined_needs_its_version(registry: Registry) -> None:
    registry.log.append(DECISIONS, [Record(key="k", value=b"v")])
    registry.at += 2 * DAY
    assert registry.collect() == ()


def test_a_version_that_was_turned_down_has_decided_nothing(registry: Registry) -> None:
    registry.add(2, ready=False)
    registry.log.append(DECISIONS, [Record(key="k", value=b"v")])
    registry.at += 2 * DAY
    assert registry.collect() == (2,)


def test_an_evaluation_and_a_run_under_way_need_a_version(registry: Registry) -> None:
    target = EvaluationSettings.model_validate({"target": {"model_version": "1"}}).model_dump(mode="json")

    def evaluate() -> None:
        with write_session(registry.engine) as session:
            request_evaluation(session, TENANT, LOOP, target, {}, registry.at)

    assert needed_by(registry, evaluate)
    with write_session(registry.engine) as session:
        run = request_run(session, TENANT, LOOP, "fine_tune", {}, registry.at)
        take_lease(session, run.ref, "worker", registry.at, 1000)
    registry.add(3)
    registry.at += 2 * DAY
    kept = registry.collector.collect(TENANT, LOOP, registry.at).kept
    assert (kept[1], kept[3]) == ("it is being evaluated", "a training run is under way")


def test_what_is_new_or_was_named_lately_stays(registry: Registry) -> None:
    registry.name(1)
    registry.name(9)
    registry.add(10)
    registry.name(10)
    registry.at += DAY // 2
    assert registry.collect() == ()
    registry.at += DAY
    # It bears no alias, nor did the one before last.
    assert registry.collect() == (1,)


def test_weights_that_a_version_shares_with_one_that_is_needed_stay(registry: Registry) -> None:
    registry.add(10, "policy 1")
    registry.at += 2 * DAY
    assert registry.collect() == (9, 1)
    assert (registry.has_weights(1), registry.has_weights(9)) == (True, False)


def test_what_a_publisher_left_behind_goes_after_a_while(registry: Registry) -> None:
    files = {"policy": b"orphan"}
    orphan = store_parts(registry.engine, registry.store, files, registry.at)["policy"]  # type: ignore[arg-type] # a part
    registry.collect()
    assert orphan in registry.store
    registry.at += 2 * DAY
    registry.collect()
    assert orphan not in registry.store
    with read_session(registry.engine) as session:
        assert orphan not in set(session.scalars(select(ModelArtifactRow.sha256)))


def test_cut_off_between_the_row_and_the_files_it_goes_on_the_next_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_: object, sha256: str) -> int:
        raise OSError(sha256)

    with monkeypatch.context() as patched:
        patched.setattr(ArtifactStore, "delete", cut_off)
        with pytest.raises(OSError, match=r"[0-9a-f]{64}"):
            registry.collect()
    assert registry.has_weights(1)
    with read_session(registry.engine) as session:
        assert session.get_one(ModelVersionRow, (TENANT, LOOP, 1)).collected_at is not None
    assert registry.collect() == ()
    assert not registry.has_weights(1)


def test_who_publishes_the_same_weights_meanwhile_has_them(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version with the weights of one that was collected is registered while files are about to be deleted: between
    the look at what is needed and the deletion, which is when it would hurt."""
    registry.collector.collect(TENANT, LOOP, registry.at)
    with write_session(registry.engine) as session:
        old = list(session.scalars(select(ModelArtifactRow.sha256)))
    look = model_artifacts.needed_artifacts

    def look_and_let_publish(*arguments: object) -> set[str]:
        needed = look(*arguments)  # type: ignore[arg-type] # passed on
        registry.add(11, "policy 1")
        return needed

    monkeypatch.setattr(model_artifacts, "needed_artifacts", look_and_let_publish)
    assert old
    assert delete_unneeded(registry.engine, registry.store, registry.at - DAY) == 0
    assert registry.has_weights(1)


def test_a_publisher_that_took_too_long_does_not_register_what_is_gone(registry: Registry) -> None:
    files = {"policy": b"late"}
    parts = store_parts(registry.engine, registry.store, files, registry.at)  # type: ignore[arg-type] # a part
    registry.at += 2 * DAY
    registry.collect()
    with pytest.raises(ArtifactError, match="is gone"), write_session(registry.engine) as session:
        hold_artifacts(session, registry.store, parts.values(), registry.at)
