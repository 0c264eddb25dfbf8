"""The folder of the local servers, and which of them run there."""

from pathlib import Path
from typing import Final

from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from deploy.local.server import LocalServer, write_private

HOME: Final = Path(__file__).resolve().parents[2] / "var" / "services"
SERVERS: Final = {server.name: server for server in (KafkaServer, PostgresqlServer, RedisServer)}


def running(home: Path = HOME) -> dict[str, LocalServer]:
    """By name, the servers that run with their state in a folder."""
    servers = [server(home / name) for name, server in SERVERS.items()]
    return {server.name: server for server in servers if server.process() is not None}


def write_addresses() -> Path:
    """A file of environment variables, as shells and process supervisors read them; of the servers that run."""
    HOME.mkdir(parents=True, exist_ok=True)
    path = HOME / "services.env"
    write_private(path, "".join(f"{server.variable}={server.address}\n" for server in running().values()))
    return path
