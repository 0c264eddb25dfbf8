"""Which faults are run, in order, and what each must hold to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.faults import corrupting, injecting
from tests.faults.altered import Alteration
from tests.faults.injecting import Inject


@dataclass(frozen=True)
class Scenario:
    """A baseline, one fault under load, a recovery."""

    name: str
    title: str
    inject: Inject
    # Of the short run.
    short: bool = False
    # Every decide is answered; not where the gateway itself is the victim.
    answers: bool = True
    # It goes on by itself: recovery counts from the fault, not from its end.
    heals: bool = False
    # Milliseconds.
    p99: float | None = 250.0
    # Seconds until versions decide again, and until the spool is drained.
    recovers_in: float = 10.0
    # While it lasts no version may decide: nothing that is corrupt is served.
    serves_nothing: bool = False
    dead_letters: int = 0
    # Seconds; None where a stall is the fault.
    longest_stall: float | None = None
    # Skipped where the spool's disk could not be mounted.
    needs_own_disk: bool = False
    alterations: Mapping[str, Alteration] = field(default_factory=dict)
    # What it breaks stands between the platform and its servers.
    is_proxied: bool = False
    # What must break, where a guarantee is switched off: the suite can fail.
    breaks: frozenset[str] = frozenset()

    @property
    def steps_clock(self) -> bool:
        return "stepped-clock" in self.alterations.values()


MODEL_SERVICES: Final = ("encoding", "fusion", "policy")


def gateway_dies(
    name: str,
    title: str,
    inject: Inject,
    *,
    short: bool = False,
    alterations: Mapping[str, Alteration] | None = None,
    breaks: frozenset[str] = frozenset(),
) -> Scenario:
    """Nobody answers until the supervisor has started it again: the product knows it, and tries again."""
    return Scenario(
        name,
        title,
        inject,
        short=short,
        answers=False,
        heals=True,
        p99=None,
        recovers_in=20.0,
        alterations=alterations or {},
        breaks=breaks,
    )


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario("none", "none: duplicates, late feedback, feedback before its decision", injecting.nothing),
    Scenario("joiner-killed", "kill -9 joiner", injecting.killed("feedback"), short=True),
    Scenario("joiner-frozen", "SIGSTOP joiner", injecting.frozen("feedback")),
    Scenario("joiner-zombie", "zombie joiner: suspended past its lease, then resumed", injecting.zombie_joiner),
    *(
        Scenario(f"{name}-killed", f"kill -9 {name}", injecting.killed(name), heals=True, recovers_in=15.0)
        for name in MODEL_SERVICES
    ),
    *(
        Scenario(f"{name}-frozen", f"SIGSTOP {name}", injecting.frozen(name), short=name == "encoding")
        for name in MODEL_SERVICES
    ),
    Scenario("kafka-killed", "kill -9 Kafka", injecting.server_killed("kafka"), short=True),
    Scenario("kafka-frozen", "SIGSTOP Kafka", injecting.server_frozen("kafka")),
    Scenario("kafka-restarted", "restart Kafka", injecting.server_restarted("kafka")),
    Scenario(
        "kafka-acknowledgement", "acknowledgements of Kafka lost", injecting.acknowledgements_lost, is_proxied=True
    ),
    Scenario("postgresql-slow", "PostgreSQL 200 ms slower", injecting.postgresql_slow, is_proxied=True),
    Scenario("postgresql-killed", "kill -9 PostgreSQL", injecting.server_killed("postgresql"), short=True),
    Scenario("postgresql-frozen", "SIGSTOP PostgreSQL", injecting.server_frozen("postgresql"), p99=None),
    Scenario("redis-killed", "kill -9 Redis", injecting.server_killed("redis"), short=True),
    Scenario("redis-frozen", "SIGSTOP Redis", injecting.server_frozen("redis")),
    Scenario("spool-full", "Kafka hangs and the spool's disk is full", injecting.spool_full, needs_own_disk=True),
    Scenario("kafka-full", "no room for Kafka", injecting.no_room_for("kafka")),
    Scenario("postgresql-full", "no room for PostgreSQL", injecting.no_room_for("postgresql")),
    Scenario("artifacts-full", "no room for a fine-tune's version", injecting.no_room_for_artifacts),
    Scenario("poison", "1,000 poison records", injecting.poison, dead_letters=injecting.POISON, longest_stall=5.0),
    Scenario(
        "corrupt-bit",
        "corrupt artifact: a bit flipped",
        corrupting.corrupt(corrupting.bit_flipped),
        short=True,
        serves_nothing=True,
    ),
    Scenario("corrupt-cut", "corrupt artifact: cut", corrupting.corrupt(corrupting.cut), serves_nothing=True),
    Scenario("corrupt-swap", "corrupt artifact: swapped", corrupting.corrupt(corrupting.swapped), serves_nothing=True),
    Scenario("corrupt-link", "corrupt artifact: a link", corrupting.corrupt(corrupting.linked), serves_nothing=True),
    Scenario("worker-killed", "kill -9 Celery worker in a fine-tune", injecting.worker_killed),
    Scenario("worker-frozen", "SIGSTOP Celery worker", injecting.frozen("worker")),
    Scenario("alone", "everything but the gateway hangs", injecting.everything_but_the_gateway),
    gateway_dies("gateway-killed", "kill -9 gateway", injecting.killed("gateway"), short=True),
    Scenario("gateway-frozen", "SIGSTOP gateway", injecting.frozen("gateway"), answers=False, p99=None),
    Scenario(
        "rolling",
        "restart of every service in turn",
        injecting.restarted_in_turn,
        answers=False,
        p99=None,
        recovers_in=20.0,
    ),
    gateway_dies("random-kills", "kill -9 joiner, worker, gateway at random", injecting.killed_at_random),
    Scenario(
        "clock",
        "the clock steps: an hour back, an hour and a day forward",
        injecting.clock_stepped,
        alterations={"gateway": "stepped-clock", "feedback": "stepped-clock"},
    ),
)

# Each guarantee switched off: the checker must go red.
PROOFS: Final[tuple[Scenario, ...]] = (
    Scenario(
        "proof-deduplication",
        "without deduplication: none",
        injecting.nothing,
        alterations={"feedback": "no-deduplication"},
        breaks=frozenset({"I1"}),
    ),
    gateway_dies(
        "proof-durability",
        "acknowledged before it is written: kill -9 gateway",
        injecting.killed("gateway"),
        alterations={"gateway": "early-acknowledgement"},
        breaks=frozenset({"I1", "I2"}),
    ),
    Scenario(
        "proof-fencing",
        "without fencing: zombie joiner",
        injecting.zombie_joiner,
        alterations={"feedback": "no-fencing"},
        breaks=frozenset({"I14"}),
    ),
    Scenario(
        "proof-hash",
        "without the hash check: a bit flipped",
        corrupting.corrupt(corrupting.bit_flipped),
        serves_nothing=True,
        alterations={"policy": "no-hash-check"},
        breaks=frozenset({"I6"}),
    ),
)
