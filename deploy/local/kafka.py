"""Apache Kafka: one node that is broker and KRaft controller, from the jars that Maven Central has."""

import base64
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.local.server import LocalServer, ServerError, accepts, free_port, locked

POM: Final = Path(__file__).with_name("pom.xml")
# Every broker of this checkout runs on the same jars.
LIBRARIES: Final = Path(__file__).resolve().parents[2] / "var" / "services" / "kafka-libraries"
HEAP: Final = "256m"


class KafkaServer(LocalServer):
    """A broker without security, for this machine alone; topics are made by whoever needs them."""

    name = "kafka"
    variable = "REWARDLOOP_KAFKA_SERVERS"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.identity.port}"

    def missing(self) -> str | None:
        if shutil.which("java") is None:
            return "the program java, 17 or newer"
        return None if has_libraries() else f"its jars in {LIBRARIES}"

    def answers(self) -> bool:
        # It listens only once it can serve.
        return self.process() is not None and accepts(self.identity.port, self.host)

    def prepare(self) -> Sequence[str]:
        properties = self.folder / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        data = self.folder / "data"
        if not (data / "meta.properties").exists():
            # What an interrupted formatting left is no log.
            shutil.rmtree(data, ignore_errors=True)
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", f"--config={properties}"]
            formatted = subprocess.run(_java(*tool), capture_output=True, text=True, check=False)
            if formatted.returncode:
                raise ServerError(f"kafka's storage was not formatted: {formatted.stdout}{formatted.stderr}".strip())
        return _java("kafka.Kafka", str(properties))

    def _properties(self) -> dict[str, object]:
        broker, controller = f"BROKER://{self.address}", free_port()
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"{broker},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": broker,
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.folder / "data",
            # The only copy there is: what is acknowledged is on disk.
            "log.flush.interval.messages": 1,
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
        }


def has_libraries() -> bool:
    """Whether the jars are those that pom.xml names now."""
    stamp = LIBRARIES / POM.name
    return stamp.exists() and stamp.read_text() == POM.read_text()


def install_libraries() -> None:
    """Has Maven fetch the broker with all that it depends on.

    Raises:
        ServerError: Maven is not there, or cannot reach its repository.
    """
    if shutil.which("mvn") is None:
        raise ServerError("kafka's jars come by Maven, and the program mvn is not there: install it")
    LIBRARIES.parent.mkdir(parents=True, exist_ok=True)
    part = LIBRARIES.with_suffix(".part")
    with locked(LIBRARIES.with_suffix(".lock")):
        if has_libraries():
            return
        for folder in (part, LIBRARIES):
            shutil.rmtree(folder, ignore_errors=True)
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={part}", "-DincludeScope=runtime"]
        command = ["mvn", "--batch-mode", "--quiet", f"--file={POM}", *copy]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        if fetched.returncode:
            raise ServerError(f"Maven did not fetch kafka's jars: {fetched.stdout.strip()[:1000]}")
        # Last: it says that the jars are whole.
        shutil.copy(POM, part)
        part.rename(LIBRARIES)


def _java(*arguments: str) -> list[str]:
    # C1 alone: a broker that lives for minutes would spend much of them on being compiled again.
    return ["java", f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBRARIES}/*", *arguments]
