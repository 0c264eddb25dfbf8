"""Installs what the servers need: Debian's packages, and Kafka's jars."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from deploy.local.kafka import KafkaServer, has_libraries, install_libraries
from deploy.local.server import LocalServer, ServerError

PACKAGES: Final = {"kafka": ("maven",), "postgresql": ("postgresql",), "redis": ("redis-server",)}


def install(servers: Sequence[LocalServer]) -> None:
    """Brings what these servers miss; asks nobody where they miss nothing.

    Raises:
        ServerError: it cannot be brought here.
    """
    wanted = [server for server in servers if server.missing() is not None]
    packages = [package for server in wanted if _needs_packages(server) for package in PACKAGES[server.name]]
    if packages:
        _install_packages(packages)
    if any(isinstance(server, KafkaServer) for server in wanted) and not has_libraries():
        install_libraries()
    for server in wanted:
        if (missing := server.missing()) is not None:
            raise ServerError(f"{server.name} still needs {missing}")


def _needs_packages(server: LocalServer) -> bool:
    return not (isinstance(server, KafkaServer) and shutil.which("java") and shutil.which("mvn"))


def _install_packages(packages: Sequence[str]) -> None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ServerError(f"install these by your system's own means, as root: {', '.join(packages)}")
    # No package starts its service: the servers here are ours, with their state in ./var.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update", "-qq"], ["install", "-yqq", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"apt-get {command[0]} failed: {done.stderr.strip()[-1000:]}")
