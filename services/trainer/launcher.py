"""Starts the processes of a fine-tune that runs on several, watches them, and ends them however it ends."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

from services.trainer.examples import Examples
from services.trainer.fine_tuning import FineTune, FineTuned, Report, fine_tune, steps_for
from services.trainer.handover import Assignment, read_outcome, read_progress, write_assignment
from services.trainer.networks import Networks
from services.trainer.process_group import ProcessesError, Rank, own_device
from services.trainer.settings import TrainerSettings
from shared.lifeline import VARIABLE
from shared.loop_settings import LearningSettings
from shared.settings import DeviceName

POLL_SECONDS: Final = 0.05
# Gloo would listen where the machine's name leads to.
LOOPBACK: Final = "lo" if sys.platform == "linux" else "lo0"


@dataclass(frozen=True, slots=True)
class Launcher:
    """Fine-tunes on so many processes of this machine; blocks. `sleep` takes seconds."""

    processes: int
    device: DeviceName
    sleep: Callable[[float], None] = time.sleep

    def __call__(
        self, champion: Networks, examples: Examples, learning: LearningSettings, seed: int, report: Report
    ) -> FineTuned:
        """As `fine_tune`, with the result of one process but for rounding.

        Raises:
            DivergedError: the loss or a weight went to infinity or is not a number.
            ProcessesError: a process ended before all were done, or there are fewer GPUs than are asked for.
        """
        devices = [str(own_device(self.device, index, self.processes)) for index in range(self.processes)]
        with tempfile.TemporaryDirectory(prefix="rewardloop-ranks-") as name:
            folder = Path(name)
            write_assignment(folder, Assignment(champion, examples, learning, seed))
            with _ranks(folder, devices) as ranks:
                self._watch(ranks, folder, report, steps_for(len(examples), learning.max_steps))
            return read_outcome(folder, champion.architecture)

    def _watch(self, ranks: Sequence["Popen[bytes]"], folder: Path, report: Report, steps: int) -> None:
        """Until all have ended well; reports all the while, so that the run's lease is kept."""
        while (codes := [rank.poll() for rank in ranks]) != [os.EX_OK] * len(ranks):
            if failed := {code: index for index, code in enumerate(codes) if code}:
                # Who was killed ends with a negative status, and the others with errors since it is gone.
                code = min(failed)
                raise ProcessesError(
                    f"process {failed[code] + 1} of {len(ranks)} of the fine-tune ended with status {code}; "
                    "the trainer's log tells more"
                )
            report(*(read_progress(folder) or (0, steps, None)))
            self.sleep(POLL_SECONDS)


def fine_tune_by(settings: TrainerSettings) -> FineTune:
    """How fine-tunes are done: in this process, or on several."""
    if settings.training_processes > 1:
        return Launcher(settings.training_processes, settings.training_device)

    def fine_tune_here(
        champion: Networks, examples: Examples, learning: LearningSettings, seed: int, report: Report
    ) -> FineTuned:
        rank = Rank(device=own_device(settings.training_device))
        return fine_tune(champion, examples, learning, seed, report, rank)

    return fine_tune_here


@contextmanager
def _ranks(folder: Path, devices: Sequence[str]) -> Iterator[list["Popen[bytes]"]]:
    """Processes that live no longer than this one, nor than the block."""
    # Only this process holds the write end, so that the ranks' read ends with it.
    lifeline, held = os.pipe()
    environment = os.environ | {VARIABLE: str(lifeline), "GLOO_SOCKET_IFNAME": LOOPBACK}
    command = [sys.executable, "-m", "services.trainer.rank", str(folder)]
    ranks: list[Popen[bytes]] = []
    try:
        for index, device in enumerate(devices):
            of_rank = environment | {"RANK": str(index), "WORLD_SIZE": str(len(devices))}
            ranks.append(Popen([*command, device], env=of_rank, pass_fds=[lifeline], stdin=DEVNULL))  # noqa: S603
        yield ranks
    finally:
        os.close(held)
        os.close(lifeline)
        for rank in ranks:
            rank.kill()
            rank.wait()
