"""A bridge with a network namespace for each container, as docker lays one, inside the namespace of this run."""

import subprocess
from pathlib import Path

BRIDGE = "bridge"
PREFIX = "10.89.0."
# The bridge's own: here the servers listen, and the tests ask from here.
HOST = f"{PREFIX}1"
FIRST_CONTAINER = 11


class Network:
    """Names and addresses of one run; every container finds all of them in its /etc/hosts."""

    def __init__(self, hosts_file: Path) -> None:
        self.hosts_file = hosts_file
        self._addresses: dict[str, str] = {}
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")

    def name_host(self, name: str) -> None:
        """A server that listens on the bridge itself."""
        self._name(name, HOST)

    def join(self, name: str) -> tuple[str, Path]:
        """Makes a namespace for a container of that name; its address, and the namespace's file."""
        number = FIRST_CONTAINER + len(self._addresses)
        address, outside = f"{PREFIX}{number}", f"container{number}"
        _ip("netns", "add", name)
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", outside, "master", BRIDGE, "up")
        for command in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-netns", name, *command.split())
        self._name(name, address)
        return address, Path("/run/netns") / name

    def _name(self, name: str, address: str) -> None:
        self._addresses[name] = address
        lines = ["127.0.0.1 localhost", *(f"{each} {called}" for called, each in self._addresses.items())]
        # In place: it is mounted into containers that run.
        self.hosts_file.write_text("\n".join(lines) + "\n")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
