"""A trainer in this process, on a folder of its own, under a clock that the test turns."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import torch
from sqlalchemy import Engine

from services.trainer.experiences import Replay
from services.trainer.publishing import Publisher
from services.trainer.settings import TrainerSettings
from services.trainer.trainer import Trainer
from shared.db.engine import open_engine, read_session
from shared.db.upgrading import upgrade
from shared.domain import ModelVersion, RunRef, TrainingRun
from shared.eventlog.local import LocalEventLog
from shared.networks.media_decoder import decode_all
from shared.networks.online_head import HeadStatistics
from shared.networks.parts import load_policy
from shared.networks.q_network import QNetwork
from shared.registry.artifacts import ArtifactStore
from shared.registry.manifest import Manifest
from shared.registry.training_runs import read_run
from shared.registry.versions import read_champion, read_versions
from tests.unit.services.trainer import bandit


@dataclass
class FakeClock:
    """Every look takes a millisecond."""

    now: int = 1_000_000

    def __call__(self) -> int:
        self.now += 1000
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)


@dataclass
class Workplace:
    """A trainer with what it works on, and what came of it."""

    folder: Path
    engine: Engine
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.artifacts = ArtifactStore(self.folder / "artifacts")
        self.event_log = LocalEventLog(self.folder / "eventlog", self.clock)
        self.settings = TrainerSettings(home=self.folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        engine = open_engine(f"sqlite:///{folder / 'rewardloop.db'}")
        upgrade(engine)
        return cls(folder, engine)

    def close(self) -> None:
        self.event_log.close()
        self.engine.dispose()

    def trainer(self) -> Trainer:
        """A new one, as after a restart."""
        replay = Replay(self.engine, decode_all, self.artifacts.get)
        publisher = Publisher(self.engine, self.artifacts, self.event_log, self.clock)
        return Trainer(
            self.engine, self.artifacts, replay, publisher, self.settings, self.clock, sleep=self.clock.sleep
        )

    def do(self, ref: RunRef) -> TrainingRun:
        self.trainer().run(ref)
        return self.read(ref)

    def read(self, ref: RunRef) -> TrainingRun:
        with read_session(self.engine) as session:
            run = read_run(session, ref)
        assert run is not None
        return run

    def champion(self) -> ModelVersion:
        with read_session(self.engine) as session:
            version = read_champion(session, bandit.TENANT, bandit.LOOP_ID)
        assert version is not None
        return version

    def manifest(self, version: ModelVersion) -> Manifest:
        return Manifest.model_validate_json(self.artifacts.get(version.manifest_sha256))

    def policy(self, version: ModelVersion) -> tuple[QNetwork, HeadStatistics]:
        manifest = self.manifest(version)
        return load_policy(manifest.architecture, self.artifacts.get(manifest.parts["policy"]))

    def versions(self) -> list[ModelVersion]:
        with read_session(self.engine) as session:
            return read_versions(session, bandit.TENANT, bandit.LOOP_ID)


@pytest.fixture(autouse=True)
def one_deterministic_thread() -> Iterator[None]:
    """As in the worker's child; the other core is another test's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace.open(tmp_path)
    yield place
    place.close()
