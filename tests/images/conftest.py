"""docker-compose.yml as containers of the built images, on the servers of deploy/local."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from deploy.local.server import Identity, LocalServer
from tests.e2e.conftest import until
from tests.images.compose import Service, read_compose, secrets_of_env_example
from tests.images.container import Container
from tests.images.image import Image, Volumes
from tests.images.network import HOST, Network

PROGRAMS = ("buildah", "crun", "ip")
# As docker-compose.yml names them: with the port there, and the variable of the password.
SERVERS: dict[str, tuple[type[LocalServer], int, str | None]] = {
    "postgresql": (PostgresqlServer, 5432, "POSTGRES_PASSWORD"),
    "kafka": (KafkaServer, 9092, None),
    "redis": (RedisServer, 6379, "REDIS_PASSWORD"),
}
HEALTHY_SECONDS = 300
DONE_SECONDS = 120


class Deployment:
    """All that docker-compose.yml starts, as far as it runs our images."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder = folder
        self._variables = variables
        self._services = read_compose(variables)
        self._images: dict[str, Image] = {}
        self._servers: list[LocalServer] = []
        self._volumes = Volumes(folder / "volumes")
        self.containers: dict[str, Container] = {}

    def start(self) -> None:
        """Images first: one that is not built is told at once."""
        for name in sorted({service.image for service in self._services}):
            self._images[name] = Image.unpack(name)
        network = Network(self._folder / "hosts")
        for name, (server, port, password) in SERVERS.items():
            network.name_host(name)
            self._start_server(server(self._folder / name, HOST), port, self._variables[password] if password else "")
        for service in self._services:
            self._await(service)
            image = self._images[service.image]
            self.containers[service.name] = Container(service, image, network, self._volumes, self._folder)
        for name, container in self.running().items():
            until(container.is_healthy, f"{name} is healthy", HEALTHY_SECONDS)

    def client(self) -> httpx.Client:
        """Of the gateway, with the key that .env gives."""
        headers = {"Authorization": f"Bearer {self._variables['REWARDLOOP_BOOTSTRAP_KEY']}"}
        return httpx.Client(base_url=f"http://{self.containers['gateway'].address}:8000", headers=headers, timeout=60)

    def running(self) -> dict[str, Container]:
        """Without those that do their work and end."""
        return {name: one for name, one in self.containers.items() if one.exit_status() is None}

    def remove(self) -> None:
        """Whatever is left of it."""
        for container in self.containers.values():
            container.remove()
        for server in self._servers:
            server.stop()
        for image in self._images.values():
            image.remove()

    def _start_server(self, server: LocalServer, port: int, password: str) -> None:
        server.folder.mkdir()
        (server.folder / "identity.json").write_text(json.dumps(asdict(Identity(port, password))))
        server.start()
        self._servers.append(server)

    def _await(self, service: Service) -> None:
        """Docker's conditions; a server of ours is there once it is started."""
        for name in service.waits_for.keys() - SERVERS.keys():
            other = self.containers[name]
            if service.waits_for[name] == "service_completed_successfully":
                assert other.wait(DONE_SECONDS) == 0, other.said()
            else:
                until(other.is_healthy, f"{name} is healthy, for {service.name}", HEALTHY_SECONDS)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.fail(f"{', '.join(missing)} is missing: `apt-get install buildah crun iproute2`", pytrace=False)
    deployment = Deployment(tmp_path_factory.mktemp("deployment"), secrets_of_env_example())
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.remove()
