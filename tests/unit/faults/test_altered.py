"""Services run altered by way of another module, and what is altered are functions that the product has."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.supervisor import Program
from tests.faults.altered import ALTERATIONS, CLOCK_STEP
from tests.faults.up import altered

ROOT = Path(__file__).resolve().parents[3]


def test_only_the_named_program_is_altered() -> None:
    programs = [
        Program("gateway", ["python", "-m", "services.gateway"]),
        Program("beat", ["python", "-m", "b", "beat"]),
    ]
    gateway, beat = altered(programs, {"gateway": "stepped-clock"})
    assert gateway.arguments == ["python", "-m", "tests.faults.altered", "stepped-clock", "services.gateway"]
    assert beat is programs[1]


@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_alteration_finds_what_it_alters(name: str, tmp_path: Path) -> None:
    step = tmp_path / "step"
    step.write_text("3600000000")
    (tmp_path / "told.py").write_text(
        "import sys, time\nfrom shared.clocks import wall\nprint(wall() / 1e6 - time.time(), *sys.argv)"
    )
    command = [sys.executable, "-m", "tests.faults.altered", name, "told", "argument"]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", CLOCK_STEP: str(step), "PATH": ""}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    off, _, argument = done.stdout.split()
    assert argument == "argument"
    assert round(float(off)) == (3600 if name == "stepped-clock" else 0)
