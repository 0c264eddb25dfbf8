"""The platform under test: on a Kafka, a PostgreSQL and a Redis of its own, with proxies that can be told to fail."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

import httpx
import psutil
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from deploy.local.kafka import KafkaServer
from deploy.local.postgresql import PostgresqlServer
from deploy.local.redis import RedisServer
from deploy.local.server import LocalServer, free_port
from services.gateway.repository import add_key
from shared.clocks import wall
from shared.db.engine import open_engine, write_session
from shared.security import key_digest
from tests.e2e.conftest import KEY, Platform, alive
from tests.faults.altered import CLOCK_STEP
from tests.faults.load import ACTIONS
from tests.faults.proxy import KafkaProxy, Proxy

TENANT, OTHER_TENANT = "default", "other"
OTHER_KEY: Final = "other-" + "o" * 40
DRAW_SECRET: Final = "faults-" + "d" * 40
PATIENCE: Final = 240.0
SPOOL_MB: Final = 24
# Of a reward: long enough for feedback that follows at once, short enough to wait for.
WINDOW: Final = 8.0
SERVICES: Final = ("encoding", "fusion", "policy", "gateway", "feedback", "worker", "beat")


class ProxiedKafka(KafkaServer):
    """Has a second port, whose clients it tells to come by way of a proxy."""

    def __init__(self, folder: Path, proxy: int) -> None:
        super().__init__(folder)
        self._proxy = proxy
        self.behind_proxy = free_port()

    def _properties(self) -> dict[str, object]:
        direct = super()._properties()
        second = {
            "listeners": f"PROXIED://127.0.0.1:{self.behind_proxy}",
            "advertised.listeners": f"PROXIED://127.0.0.1:{self._proxy}",
            "listener.security.protocol.map": "PROXIED:PLAINTEXT",
        }
        return direct | {name: f"{direct[name]},{value}" for name, value in second.items()}


class Bench:
    """Everything that a scenario can break, and the way past it to what is stored."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home = folder / "state"
        self.spool = folder / "spool"
        self._clock_step = folder / "clock-step"
        self._clock_step.write_text("0")
        self.postgresql = PostgresqlServer(folder / "postgresql")
        self.redis = RedisServer(folder / "redis")
        kafka_port = free_port()
        self.kafka = ProxiedKafka(folder / "kafka", kafka_port)
        self.to_kafka = KafkaProxy(kafka_port, self.kafka.behind_proxy)
        self.to_postgresql = Proxy(free_port(), self.postgresql.identity.port)
        self.alterations: Mapping[str, str] = {}
        # Whether the platform comes to Kafka and PostgreSQL by way of the proxies, which costs as much as a service.
        self.is_proxied = False
        self.platform = self._platform()
        # Loop → tenant → mutating calls, for the audit log to match.
        self.asked: dict[str, Counter[str]] = {}

    @contextmanager
    def running(self) -> Iterator["Bench"]:
        """Servers and platform, until the end of the block; the spool stands on a disk that can be filled."""
        with ExitStack() as ending:
            ending.callback(self.to_kafka.close)
            ending.callback(self.to_postgresql.close)
            for server in self.servers:
                ending.callback(server.stop)
            with ThreadPoolExecutor() as threads:
                list(threads.map(lambda server: server.start(), self.servers))
            self._mount_spool(ending)
            subprocess.run(
                [sys.executable, "-m", "services", "init"],
                env=os.environ | self.variables(),
                check=True,
                capture_output=True,
            )
            with write_session(self.engine) as session:
                add_key(session, OTHER_TENANT, "manage", key_digest(OTHER_KEY), wall())
            ending.callback(self.engine.dispose)
            ending.callback(lambda: self.platform.stop())
            self.platform.start(PATIENCE)
            yield self

    @property
    def servers(self) -> Sequence[LocalServer]:
        return self.kafka, self.postgresql, self.redis

    @cached_property
    def engine(self) -> Engine:
        """Past the proxy."""
        return open_engine(self.postgresql.address)

    @property
    def keys(self) -> dict[str, str]:
        return {TENANT: KEY, OTHER_TENANT: OTHER_KEY}

    @property
    def secrets(self) -> dict[str, str]:
        """What no log may hold."""
        servers = {f"the password of {server.name}": server.identity.password for server in self.servers[1:]}
        return {"a key": KEY, "the other tenant's key": OTHER_KEY, "the draw secret": DRAW_SECRET, **servers}

    def restart(self, alterations: Mapping[str, str], *, is_proxied: bool) -> None:
        """The platform anew, on the same state, with services altered."""
        self.platform.stop()
        self.step_clock(0)
        self.alterations, self.is_proxied = alterations, is_proxied
        self.platform = self._platform()
        self.platform.start(PATIENCE)

    def step_clock(self, seconds: float) -> None:
        """What the wall clock of altered services is off by from now on."""
        part = self._clock_step.with_suffix(".part")
        part.write_text(str(round(seconds * 1e6)))
        part.replace(self._clock_step)

    def make_loop(self, loop_id: str) -> None:
        """The same one for each tenant, ready to decide by its first version."""
        body = {
            "modalities": {"visit": {"kind": "embedding", "dimension": 8}, "user": {"kind": "tabular"}},
            "actions": [{"id": action} for action in ACTIONS],
            "reward_wait_time": f"PT{WINDOW:g}S",
            "close_on_first_feedback": True,
            "learning": {"interval": "P1D", "min_experiences": 1_000_000, "max_steps": 20},
        }

        def make(tenant: str) -> None:
            with self.client(tenant) as http:
                http.put(f"/v1/loops/{loop_id}", json=body, timeout=PATIENCE).raise_for_status()
                self.until(lambda: self._decides(http, loop_id), f"loop {loop_id} decides by a version")

        with ThreadPoolExecutor() as threads:
            list(threads.map(make, self.keys))
        self.asked[loop_id] = Counter(dict.fromkeys(self.keys, 1))

    def ask_for_training(self, loop_id: str) -> None:
        """Requests a fine-tune of the first tenant's loop; of a gateway that is away, or spools, until it takes it."""

        def is_taken(http: httpx.Client) -> bool:
            try:
                answer = http.post(f"/v1/loops/{loop_id}/training-runs", json={})
            except httpx.ConnectError:
                return False
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                answer.raise_for_status()
            return answer.is_success

        with self.client() as http:
            self.until(lambda: is_taken(http), "a fine-tune is requested")
        self.asked[loop_id][TENANT] += 1

    def client(self, tenant: str = TENANT) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[tenant]}"}
        return httpx.Client(base_url=self.platform.url, headers=headers, timeout=30)

    def process(self, service: str) -> psutil.Process | None:
        """The one that the supervisor keeps running, or None between two of them."""
        named = service if service in ("worker", "beat") else f"services.{service}"
        supervisor = psutil.Process(self.platform.process.pid)
        for child in supervisor.children():
            with suppress(psutil.NoSuchProcess):
                if named in child.cmdline() and alive(child):
                    return child
        return None

    def victim(self, service: str) -> psutil.Process:
        """The same, waited for."""
        self.until(lambda: self.process(service) is not None, f"{service} runs")
        process = self.process(service)
        assert process is not None
        return process

    def answers(self, service: str) -> bool:
        """Whether a model service does, as the gateway sees it."""
        with self.client() as http:
            return bool(http.get("/readyz").json()["services"][service])

    def is_ready(self) -> bool:
        """Whether the gateway answers, and every model service does to it."""
        with self.client() as http, suppress(httpx.HTTPError):
            return all(http.get("/readyz").json()["services"].values())
        return False

    def memory(self) -> dict[str, float]:
        """Megabytes of each service, its own alone."""
        sizes = {}
        for service in SERVICES:
            process = self.process(service)
            with suppress(psutil.NoSuchProcess):
                if process is not None:
                    sizes[service] = process.memory_full_info().uss / 2**20
        return sizes

    def logs(self) -> dict[str, str]:
        """What the services have written, by file."""
        return {path.name: path.read_text(errors="replace") for path in (self.home / "logs").glob("*.log")}

    def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Raises TimeoutError where it does not hold in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            time.sleep(0.1)

    def _decides(self, http: httpx.Client, loop_id: str) -> bool:
        aliases = http.get(f"/v1/loops/{loop_id}").raise_for_status().json()["aliases"]
        return "champion" in aliases and self.is_ready()

    def _platform(self) -> Platform:
        altered = [f"{service}={alteration}" for service, alteration in self.alterations.items()]
        command = (sys.executable, "-m", "tests.faults.up", *altered)
        return Platform(self.home, command, self.variables())

    def variables(self) -> dict[str, str]:
        database, kafka = make_url(self.postgresql.address), self.kafka.address
        if self.is_proxied:
            database, kafka = database.set(port=self.to_postgresql.port), f"127.0.0.1:{self.to_kafka.port}"
        return {
            "REWARDLOOP_HOME": str(self.home),
            self.postgresql.variable: database.render_as_string(hide_password=False),
            self.kafka.variable: kafka,
            self.redis.variable: self.redis.address,
            "REWARDLOOP_SEPARATE_MODEL_SERVICES": "true",
            # As docker-compose.yml sets them.
            "REWARDLOOP_MODELS_INTERVAL": "0.1",
            "REWARDLOOP_MODELS_TIMEOUT": "0.3",
            "REWARDLOOP_DECIDE_TIMEOUT": "0.2",
            "REWARDLOOP_DRAW_SECRET": DRAW_SECRET,
            "REWARDLOOP_SPOOL_FOLDER": str(self.spool),
            # What it remembers to repeat is no leak, and must not look like one.
            "REWARDLOOP_RECENT_ANSWERS_BYTES": str(4 * 2**20),
            CLOCK_STEP: str(self._clock_step),
        }

    def _mount_spool(self, ending: ExitStack) -> None:
        """A small disk of its own for the spool, where mounting is allowed: it can really be full."""
        self.spool.mkdir()
        options = f"size={SPOOL_MB}m,mode=700"
        mount = ["mount", "-t", "tmpfs", "-o", options, "rewardloop-faults", str(self.spool)]
        if shutil.which("mount") and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            ending.callback(subprocess.run, ["umount", "--lazy", str(self.spool)], check=False)
