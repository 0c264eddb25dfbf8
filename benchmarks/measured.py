"""Results of a benchmark as files of a folder, so that a run that was broken off goes on where it stood."""

import platform
from datetime import date
from pathlib import Path
from typing import TypeVar

import psutil
from pydantic import BaseModel, Field, ValidationError

MeasuredT = TypeVar("MeasuredT", bound="Measured")
GIGABYTE = 2**30


def machine() -> str:
    """Cores, processor, memory and Python of this machine, in a line."""
    memory = psutil.virtual_memory().total / GIGABYTE
    return f"{psutil.cpu_count()} cores of {_processor()}, {memory:.0f} GiB, Python {platform.python_version()}"


class Measured(BaseModel):
    """A result, with where and when it was measured."""

    machine: str = Field(default_factory=machine)
    measured_on: date = Field(default_factory=date.today)

    def write(self, path: Path) -> None:
        """All of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(self.model_dump_json())
        part.replace(path)

    @classmethod
    def read(cls: type[MeasuredT], path: Path) -> MeasuredT | None:
        """What was written, None where nothing was, or of another shape."""
        try:
            return cls.model_validate_json(path.read_text())
        except (FileNotFoundError, ValidationError):
            return None


def _processor() -> str:
    """By its maker's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
