"""`rewardloop demo`: the demonstration of a checkout."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from services.cli.api import CommandError

CHECKOUT: Final = Path(__file__).resolve().parents[2]
MODULE: Final = "examples.digits_and_questions"


def demo(
    decisions: Annotated[int, typer.Option(min=200, help="How many visits.")] = 2000,
    rate: Annotated[float, typer.Option(min=0.1, help="Visits per second.")] = 12.0,
    keep: Annotated[bool, typer.Option(help="Leave the platform running at the end.")] = False,
) -> None:
    """Starts a platform and drives a product's traffic through it: watch the reward rise."""
    if not (CHECKOUT / "examples").is_dir():
        raise CommandError("the demonstration is part of a checkout: clone the repository and run `make demo`")
    arguments = ["--decisions", str(decisions), "--rate", str(rate), *(["--keep"] if keep else [])]
    path = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
        [sys.executable, "-m", MODULE, *arguments], env=os.environ | {"PYTHONPATH": path}, check=False
    )
    if ended.returncode != 0:
        raise CommandError("the demonstration did not end well", abs(ended.returncode))
