"""The built images, started as docker-compose.yml starts them, on a real Kafka, PostgreSQL and Redis.

`make test-images` runs this in network and mount namespaces of its own.
"""

import json
import re
from itertools import islice
from pathlib import Path

import httpx
import pytest
import yaml

from tests.contract.test_compose import asked_series
from tests.e2e import product
from tests.e2e.conftest import until
from tests.images.conftest import Deployment

# Unpacking gigabytes and starting ten containers takes minutes.
pytestmark = pytest.mark.timeout(1200)

LOOP = "digits"
DECISIONS = 60
ENDED_WELL = 0
# Of a process that leaves SIGTERM to the system.
TERMINATED = 128 + 15
PROMETHEUS = Path("deploy/prometheus/prometheus.yml")
PROBE = Path(__file__).with_name("probe.py").read_text()
ALLOWED = {"users": ["10001"], "capabilities": 0, "gains_no_privileges": True, "writable": ["/tmp"]}


def test_every_process_has_the_environment_and_the_rights_that_compose_gives_and_no_more(
    deployment: Deployment,
) -> None:
    for name, container in deployment.running().items():
        looked = container.run("python", "-c", PROBE)
        assert looked.returncode == 0, (name, looked.stderr)
        seen = json.loads(looked.stdout)
        environment = seen.pop("environment")
        assert container.service.environment.items() <= environment.items(), name
        assert seen == ALLOWED, name


def test_what_is_decided_is_joined_and_learned_from_by_way_of_every_image(deployment: Deployment) -> None:
    with deployment.client() as http:
        product.put_loop(http, LOOP, learning={"min_experiences": DECISIONS})
        until(lambda: "champion" in http.get(f"/v1/loops/{LOOP}").json()["aliases"], "the worker makes version 1", 180)
        visit, *others = islice(product.visits(), DECISIONS)
        decision = product.decide(http, LOOP, visit)
        assert decision["fallback_reason"] is None
        assert decision["model_version"] == "1"
        product.tell(http, LOOP, decision, visit)
        product.wait_for_experiences(http, LOOP, 1)
        for visit in others:
            product.tell(http, LOOP, product.decide(http, LOOP, visit), visit)
        product.wait_for_experiences(http, LOOP, DECISIONS)
        run = product.fine_tune(http, LOOP)
        assert run["status"] in ("succeeded", "skipped"), run
        # Gated out or not: the networks have learned.
        assert run["steps"] > 0, run


def test_what_dashboards_and_alerts_ask_for_is_what_prometheus_can_scrape(deployment: Deployment) -> None:
    families = set()
    for job in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]:
        [place] = job["dns_sd_configs"]
        for name in place["names"]:
            told = httpx.get(f"http://{deployment.containers[name].address}:{place['port']}/metrics").raise_for_status()
            # Each series there is has its line, with samples or without.
            families |= set(re.findall(r"^# TYPE (\w+)", told.text, re.MULTILINE))
    missing = asked_series() - families
    assert missing == set()


def test_sigterm_ends_each_before_docker_would_kill_it(deployment: Deployment) -> None:
    for name, container in reversed(deployment.running().items()):
        container.signal("TERM")
        assert container.wait(container.service.grace_seconds) in (ENDED_WELL, TERMINATED), (name, container.said())
