"""Fine-tunes on two processes of this machine, by gloo: small networks, few steps."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import torch

from services.trainer.examples import Examples, examples_of
from services.trainer.fine_tuning import FineTuned, fine_tune
from services.trainer.launcher import Launcher
from services.trainer.networks import Networks
from services.trainer.process_group import ProcessesError
from shared.db.engine import open_engine
from shared.db.upgrading import upgrade
from shared.loop_settings import LearningSettings
from shared.networks.batches import collate
from shared.registry.manifest import Architecture
from shared.settings import PlatformSettings
from tests.integration.test_trainer import champion_number, process, read, until
from tests.unit.services.trainer import bandit, multimodal

ARCHITECTURE = Architecture.of(multimodal.settings())
LEARNING = LearningSettings(max_steps=40)
# Of expected rewards; they vary by about 0.35, and another seed moves them as far.
TOLERANCE = 1e-4


@dataclass
class Told:
    """What a fine-tune reported."""

    progress: list[tuple[int, int, float | None]] = field(default_factory=list)

    def __call__(self, step: int, steps: int, loss: float | None) -> None:
        self.progress.append((step, steps, loss))


def examples() -> Examples:
    """Their minibatch has an odd number of rows."""
    return examples_of(multimodal.experiences(61), ARCHITECTURE, (0.0, 1.0))


def on_two(of: Examples, told: Told | None = None) -> FineTuned:
    return Launcher(2, "cpu")(Networks.seeded(ARCHITECTURE, 0), of, LEARNING, 1, told or Told())


def expected_rewards(done: FineTuned, of: Examples) -> torch.Tensor:
    batch = collate([one.features for one in of.experiences], list(ARCHITECTURE.modalities))
    values = done.networks.q_network(done.networks.states(batch))
    assert isinstance(values.mean, torch.Tensor)
    return values.mean


def test_two_processes_learn_what_one_does_and_twice_the_same_to_the_bit() -> None:
    of, told = examples(), Told()
    one = fine_tune(Networks.seeded(ARCHITECTURE, 0), of, LEARNING, 1, Told())
    two, again = on_two(of, told), on_two(of)
    torch.testing.assert_close(expected_rewards(two, of), expected_rewards(one, of), atol=TOLERANCE, rtol=0)
    assert two.loss == pytest.approx(one.loss, rel=1e-4)
    assert two.distance == pytest.approx(one.distance, rel=1e-4)
    assert two.steps == one.steps == 40
    assert all(map(torch.equal, two.networks.parameters(), again.networks.parameters()))
    assert told.progress[0] == (0, 40, None)
    steps = [step for step, _, _ in told.progress]
    assert steps == sorted(steps)


def test_a_process_that_dies_fails_it_and_takes_the_other_along() -> None:
    def kill_one(seconds: float) -> None:
        if not killed:
            killed.append(ranks_of(psutil.Process())[-1])
            killed[0].kill()
        time.sleep(seconds)

    killed: list[psutil.Process] = []
    with pytest.raises(ProcessesError, match=r"process [12] of 2 of the fine-tune ended with status -9"):
        Launcher(2, "cpu", kill_one)(Networks.seeded(ARCHITECTURE, 0), examples(), LEARNING, 1, Told())
    assert ranks_of(psutil.Process()) == []


def test_a_worker_that_is_killed_leaves_no_process_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDLOOP_TRAINING_PROCESSES", "2")
    # Where the folder that it leaves is the test's.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    engine = open_engine(PlatformSettings(home=tmp_path).database)
    upgrade(engine)
    bandit.add_loop(engine, bandit.settings(learning={"max_steps": 10_000}))
    bandit.add_run(engine, "initialise")
    with process(tmp_path, "worker") as worker, process(tmp_path, "beat") as beat:
        until(lambda: champion_number(engine) == 1, worker, beat)
        bandit.add_experiences(engine, 4000)
        ref = bandit.add_run(engine, "fine_tune")
        until(lambda: read(engine, ref).steps > 0, worker, beat)
        ranks = ranks_of(worker)
        assert len(ranks) == 2
        (child,) = {rank.parent() for rank in ranks}
        assert child is not None
        child.send_signal(signal.SIGKILL)
        until(lambda: not any(rank.is_running() for rank in ranks))
    engine.dispose()


def ranks_of(root: psutil.Process) -> list[psutil.Process]:
    return [one for one in root.children(recursive=True) if "services.trainer.rank" in command_of(one)]


def command_of(process: psutil.Process) -> list[str]:
    """Empty where it has just ended."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
