"""docker-compose.yml as docker reads it: its variables filled in, its services in the order in which they start."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
OURS = "rewardloop:"


@dataclass(frozen=True)
class Service:
    """What a container of one service is given; `waits_for` maps other services to the condition."""

    name: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    volumes: Mapping[str, str]
    tmpfs: Sequence[str]
    waits_for: Mapping[str, str]
    health: Sequence[str] | None
    is_read_only: bool
    drops_all_capabilities: bool
    gains_no_privileges: bool
    grace_seconds: float


def secrets_of_env_example() -> dict[str, str]:
    """deploy/env.example as its first line asks to fill it in: a value of its own for each that is empty."""
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value or secrets.token_hex(32) for name, value in given.items()}


def read_compose(variables: Mapping[str, str]) -> list[Service]:
    """The services that run our images, each after all that it waits for."""
    text = VARIABLE.sub(lambda found: _value(found, variables), (ROOT / "docker-compose.yml").read_text())
    services = yaml.safe_load(text)["services"]
    after = {name: set(service.get("depends_on", ())) for name, service in services.items()}
    order = TopologicalSorter(after).static_order()
    return [_service(name, services[name]) for name in order if services[name]["image"].startswith(OURS)]


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if value := variables.get(name):
        return value
    assert kind == "-", f"{name}: {rest}"
    return str(rest)


def _service(name: str, given: Mapping[str, Any]) -> Service:
    health = given.get("healthcheck", {}).get("test")
    assert health is None or health[0] == "CMD"
    return Service(
        name=name,
        image=given["image"],
        command=given["command"],
        # Docker fills values in after it has parsed: what is filled in with nothing is empty, not null.
        environment={key: "" if value is None else str(value) for key, value in given["environment"].items()},
        volumes=dict(volume.split(":", 1) for volume in given.get("volumes", ())),
        tmpfs=given["tmpfs"],
        waits_for={other: how["condition"] for other, how in given["depends_on"].items()},
        health=health and health[1:],
        is_read_only=given["read_only"],
        drops_all_capabilities=given["cap_drop"] == ["ALL"],
        gains_no_privileges="no-new-privileges:true" in given["security_opt"],
        grace_seconds=float(given["stop_grace_period"].removesuffix("s")),
    )
