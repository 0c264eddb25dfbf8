"""Redis: Celery's broker. It keeps nothing on disk, since a message is a hint only."""

import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from deploy.local.server import LocalServer, write_private

PROGRAMS: Final = ("redis-server", "valkey-server")
# To AUTH and PING.
READY: Final = b"+OK\r\n+PONG\r\n"


class RedisServer(LocalServer):
    """One server that takes its password from this folder."""

    name = "redis"
    variable = "REWARDLOOP_BROKER_URL"

    @property
    def address(self) -> str:
        return f"redis://:{self.identity.password}@{self.host}:{self.identity.port}/0"

    def missing(self) -> str | None:
        return None if _program() else "the program redis-server"

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, self.identity.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.identity.password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answer:
                return answer.read(len(READY)) == READY
        return False

    def prepare(self) -> Sequence[str]:
        program = _program()
        assert program is not None
        lines = {
            "bind": self.host,
            "port": self.identity.port,
            "requirepass": self.identity.password,
            "dir": self.folder,
            "save": '""',
            "appendonly": "no",
            "maxmemory": "64mb",
            "maxmemory-policy": "noeviction",
        }
        configuration = self.folder / "redis.conf"
        write_private(configuration, "".join(f"{name} {value}\n" for name, value in lines.items()))
        return [program, str(configuration)]


def _program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
