"""Built images, unpacked by buildah, and the volumes that their containers share.

They are in the store that STORAGE_DRIVER names, where deploy/images/build.sh puts them.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# As deploy/images/build.sh names it: buildah itself may look elsewhere.
BUILDAH = ("buildah", "--storage-driver", os.environ.get("STORAGE_DRIVER", "vfs"))


@dataclass(frozen=True)
class Image:
    """One that lies unpacked: its root, which nothing may write to, and what it says of itself."""

    root: Path
    working_container: str
    configuration: Mapping[str, Any]

    @classmethod
    def unpack(cls, name: str) -> "Image":
        """Fails where it is not built."""
        looked = run(*BUILDAH, "inspect", "--type", "image", f"localhost/{name}")
        if looked.returncode:
            pytest.fail(f"{name} is not built: `TARGETS={name.partition(':')[2]} make images` builds it", pytrace=False)
        container = checked(*BUILDAH, "from", "--pull-never", f"localhost/{name}")
        root = Path(checked(*BUILDAH, "mount", container))
        return cls(root, container, json.loads(looked.stdout)["OCIv1"]["config"])

    @property
    def user(self) -> dict[str, int]:
        """As an OCI runtime takes it."""
        user, _, group = self.configuration["User"].partition(":")
        return {"uid": int(user), "gid": int(group)}

    def remove(self) -> None:
        checked(*BUILDAH, "rm", self.working_container)


class Volumes:
    """Named volumes: a folder each, which at its first mount takes over what the image has there, and whose it is."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder

    def open(self, name: str, image: Image, path: str) -> Path:
        volume = self._folder / name
        if not volume.exists():
            checked("cp", "--archive", str(image.root / path.removeprefix("/")), str(volume))
        return volume


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """What a command said, and its exit status."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def checked(*command: str) -> str:
    """What a command said that must not fail."""
    done = run(*command)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()
