"""A container without a docker engine: crun runs an unpacked image as docker-compose.yml says."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images.compose import Service
from tests.images.image import Image, Volumes, checked, run
from tests.images.network import Network

# What docker gives a tmpfs of which no more is said than where.
TMPFS_OPTIONS = ["noexec", "nosuid", "nodev", "mode=1777"]


class Container:
    """One service, running as soon as this is made."""

    def __init__(self, service: Service, image: Image, network: Network, volumes: Volumes, folder: Path) -> None:
        self.service = service
        self._crun = ("crun", "--root", str(folder / "crun"))
        self._id = f"rewardloop-{os.getpid()}-{service.name}"
        self.address, namespace = network.join(service.name)
        bundle = folder / service.name
        bundle.mkdir()
        checked("crun", "spec", "--bundle", str(bundle))
        configuration = json.loads((bundle / "config.json").read_text())
        _configure(configuration, service, image, namespace)
        configuration["mounts"] += [*_mounts(service, image, volumes), _bind(network.hosts_file, "/etc/hosts")]
        (bundle / "config.json").write_text(json.dumps(configuration))
        self._log = bundle / "log"
        with self._log.open("wb") as log:
            command = [*self._crun, "run", "--bundle", str(bundle), self._id]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def exit_status(self) -> int | None:
        """None while it runs; 128 and more: a signal ended it."""
        return self._process.poll()

    def wait(self, seconds: float) -> int:
        """Its exit status; fails with its log if it goes on for longer."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.service.name} goes on after {seconds:g} s:\n{self.said()}", pytrace=False)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside it, as its user and with its environment."""
        return run(*self._crun, "exec", self._id, *command)

    def is_healthy(self) -> bool:
        """Asks as docker asks; where there is no health check, it is enough to run. Fails once it has ended."""
        ended = self.exit_status()
        assert ended is None, f"{self.service.name} ended with {ended}:\n{self.said()}"
        return self.service.health is None or self.run(*self.service.health).returncode == 0

    def signal(self, name: str) -> None:
        checked(*self._crun, "kill", self._id, name)

    def remove(self) -> None:
        """Ends it whatever it does."""
        if self.exit_status() is None:
            self.signal("KILL")
            self._process.wait()

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-4000:]


def _configure(configuration: dict[str, Any], service: Service, image: Image, network_namespace: Path) -> None:
    """Changes the runtime's own example of a configuration to what image and service ask for."""
    process = configuration["process"]
    if service.drops_all_capabilities:
        process["capabilities"] = {}
    process |= {
        "terminal": False,
        "user": image.user,
        "args": [*image.configuration["Entrypoint"], *service.command],
        "env": [*image.configuration["Env"], *(f"{name}={value}" for name, value in service.environment.items())],
        "cwd": image.configuration["WorkingDir"],
        "noNewPrivileges": service.gains_no_privileges,
    }
    # The example's 1,024 open files are not docker's.
    del process["rlimits"]
    configuration["root"] = {"path": str(image.root), "readonly": service.is_read_only}
    configuration["hostname"] = service.name
    for namespace in configuration["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = str(network_namespace)


def _mounts(service: Service, image: Image, volumes: Volumes) -> Iterator[dict[str, object]]:
    for path in service.tmpfs:
        yield {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": TMPFS_OPTIONS}
    # A folder comes before what is mounted inside it.
    for path, name in sorted((path, name) for name, path in service.volumes.items()):
        yield _bind(volumes.open(name, image, path), path)


def _bind(source: Path, destination: str) -> dict[str, object]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", "rw"]}
