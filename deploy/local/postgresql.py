"""PostgreSQL: one cluster with the database `rewardloop`; every commit is fsynced."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.server import LocalServer, ServerError, write_private

# Debian keeps the programs of each major version apart.
FOLDERS: Final = "usr/lib/postgresql/*/bin"
USER: Final = "rewardloop"
# The account that runs it where we are root: Debian's package makes it.
ACCOUNT: Final = "postgres"
SETTINGS: Final = {
    # Its path may be too long for a socket; clients come over TCP.
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
}


class PostgresqlServer(LocalServer):
    """A cluster of its own, whatever other clusters the machine has."""

    name = "postgresql"
    variable = "REWARDLOOP_DATABASE_URL"
    # Fast shutdown: it waits for no client.
    stop_signal = signal.SIGINT

    @property
    def address(self) -> str:
        """An SQLAlchemy URL for psycopg."""
        identity = self.identity
        return f"postgresql+psycopg://{USER}:{identity.password}@{self.host}:{identity.port}/{USER}"

    def missing(self) -> str | None:
        return None if _programs() else "the programs initdb and postgres"

    def answers(self) -> bool:
        ask = [*self._client("pg_isready"), "--quiet", "--timeout=1"]
        return self.process() is not None and subprocess.run(ask, check=False).returncode == 0

    def start(self) -> None:
        super().start()
        self.create_database(USER)

    def create_database(self, name: str) -> str:
        """Makes a database if it is not there; its SQLAlchemy URL.

        Raises:
            ServerError: the server refuses.
        """
        made = self._run([*self._client("createdb"), f"--username={USER}", "--template=template0", name])
        if made.returncode and "already exists" not in made.stderr:
            raise ServerError(f"postgresql makes no database: {made.stderr.strip()}")
        return self.address.removesuffix(USER) + name

    def drop_database(self, name: str) -> None:
        """Removes a database with whoever is connected to it."""
        self._run([*self._client("dropdb"), f"--username={USER}", "--force", "--if-exists", name])

    def prepare(self) -> Sequence[str]:
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._make_cluster(data)
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        return [*_as_owner(), str(_program("postgres")), "-D", str(data), *settings]

    def _settings(self) -> dict[str, object]:
        return {**SETTINGS, "listen_addresses": self.host, "port": self.identity.port}

    def _make_cluster(self, data: Path) -> None:
        # What an interrupted initdb left is no cluster.
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(data, ACCOUNT, ACCOUNT)
        password = self.folder / "password"
        write_private(password, self.identity.password)
        options = [
            f"--username={USER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]
        made = self._run([*_as_owner(), str(_program("initdb")), "-D", str(data), *options])
        password.unlink()
        if made.returncode:
            raise ServerError(f"initdb made no cluster in {data}: {made.stderr.strip()}")
        with (data / "pg_hba.conf").open("a") as access:
            access.write("host all all samenet scram-sha-256\n")

    def _client(self, program: str) -> list[str]:
        return [str(_program(program)), f"--host={self.host}", f"--port={self.identity.port}"]

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PGPASSWORD": self.identity.password, "LC_ALL": "C"}
        return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


def _as_owner() -> list[str]:
    """PostgreSQL refuses to run as root: then its own account does, which may still read its way to our folder."""
    if os.geteuid() != 0:
        return []
    capabilities = [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups", *capabilities]


def _programs() -> Path | None:
    """The folder of the programs of Debian's newest version, or of those on the path."""
    folders = [program.parent for program in Path("/").glob(f"{FOLDERS}/initdb")]
    if folders:
        return max(folders, key=lambda folder: float(folder.parent.name))
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


def _program(name: str) -> Path:
    folder = _programs()
    assert folder is not None
    return folder / name
