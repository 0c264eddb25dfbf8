"""One process of a fine-tune that runs on several: `python -m services.trainer.rank FOLDER DEVICE`, by the launcher.

RANK and WORLD_SIZE are told by the environment, as torchrun does. What comes in and goes out is in the folder.
"""

import os
import sys
from functools import partial
from pathlib import Path

from shared.lifeline import lifeline_of, watch_lifeline


def take_part(folder: Path, device: str, index: int, count: int) -> None:
    """Fine-tunes with the others; the first rank tells how far they are, and what came of it."""
    import torch

    from services.trainer.fine_tuning import DivergedError, FineTuned, fine_tune
    from services.trainer.handover import MEETING, read_assignment, write_outcome, write_progress
    from services.trainer.process_group import joined, settle

    settle()
    outcome: FineTuned | DivergedError
    with joined(folder / MEETING, index, count, torch.device(device)) as rank:
        report = partial(write_progress, folder) if index == 0 else _say_nothing
        try:
            outcome = fine_tune(*read_assignment(folder), report, rank)
        except DivergedError as error:
            # All ranks find it in the same step.
            outcome = error
    if index == 0:
        write_outcome(folder, outcome)


def _say_nothing(step: int, steps: int, loss: float | None) -> None:
    """Of several reports of the same progress one is enough."""


def main() -> None:
    # Before torch is imported: that takes seconds, in which the launcher may end.
    watch_lifeline(lifeline_of(os.environ))
    folder, device = sys.argv[1:]
    take_part(Path(folder), device, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


if __name__ == "__main__":
    main()
