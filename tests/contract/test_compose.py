"""docker-compose.yml and the files of deploy/ against the compose specification and against our own settings."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from services.dashboard.settings import DashboardSettings
from services.encoding.settings import EncodingSettings
from services.feedback.observing import JoinerMetrics
from services.feedback.settings import FeedbackSettings
from services.fusion.settings import FusionServiceSettings
from services.gateway.settings import GatewaySettings
from services.policy.observing import Observer as HeadObserver
from services.policy.settings import PolicySettings
from services.trainer.observing import ControlMetrics, WorkObserver
from services.trainer.settings import TrainerSettings
from shared.clocks import wall
from shared.model_metrics import ModelMetrics
from shared.settings import ModelServiceSettings, PlatformSettings
from tests.unit.services.gateway.conftest import empty_database, make_gateway
from tests.unit.services.gateway.fakes import Gateway

__all__ = ["empty_database", "make_gateway"]

ROOT = Path(__file__).parents[2]
FILES = ["docker-compose.yml", "deploy/compose.gpu.yml"]
SETTINGS: dict[str, type[PlatformSettings]] = {
    "services": PlatformSettings,
    "services.dashboard": DashboardSettings,
    "services.encoding": EncodingSettings,
    "services.feedback": FeedbackSettings,
    "services.fusion": FusionServiceSettings,
    "services.gateway": GatewaySettings,
    "services.policy": PolicySettings,
    "services.trainer": TrainerSettings,
}
Service = dict[str, Any]


def services() -> dict[str, Service]:
    compose: dict[str, dict[str, Service]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose["services"]


def ours() -> dict[str, Service]:
    return {name: service for name, service in services().items() if service["image"].startswith("rewardloop:")}


@pytest.mark.parametrize("name", FILES)
def test_it_follows_the_compose_specification(name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(ROOT / name)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", ours())
def test_each_of_our_services_runs_what_there_is_with_settings_that_there_are(name: str) -> None:
    service = ours()[name]
    module = service["command"][0]
    assert importlib.util.find_spec(f"{module}.__main__") is not None
    known = {f"REWARDLOOP_{field.upper()}" for field in SETTINGS[module].model_fields}
    # One set of addresses is given to all.
    known |= {f"REWARDLOOP_{field.upper()}" for field in PlatformSettings.model_fields} | {
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    }
    assert set(service["environment"]) <= known


@pytest.mark.parametrize("name", ours())
def test_each_of_our_services_may_do_no_more_than_it_must(name: str) -> None:
    service = ours()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_nobody_is_root_in_our_images() -> None:
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", sorted(services().keys() - ours().keys()))
def test_images_of_others_are_pinned(name: str) -> None:
    assert re.fullmatch(r"docker\.io/[a-z/-]+:v?\d+\.\d+[.\d]*(-bookworm)?", services()[name]["image"])


def test_what_must_not_leave_this_machine_listens_nowhere_else() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("${REWARDLOOP_BIND:-127.0.0.1}:") for port in published)


def test_every_secret_is_asked_for_and_none_is_given() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    example = dict(
        line.split("=", 1) for line in (ROOT / "deploy" / "env.example").read_text().splitlines() if "=" in line
    )
    assert asked <= set(example)
    assert {example[name] for name in asked} == {""}


def alert_rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def asked_series() -> set[str]:
    """What the dashboard of Grafana and the alerts read, as families: without what a sample's name has beyond them."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "rewardloop.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for rule in alert_rules()]
    names = {name for expression in asked for name in re.findall(r"rewardloop_\w+", expression)}
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


async def test_dashboards_and_alerts_name_series_that_there_are(make_gateway: Callable[..., Gateway]) -> None:
    async with make_gateway().client() as http:
        told = (await http.get("/metrics")).text
    registry = CollectorRegistry()
    for tells in (ModelMetrics, HeadObserver, JoinerMetrics, ControlMetrics):
        tells(registry)
    WorkObserver(registry, wall)
    told += generate_latest(registry).decode()
    assert asked_series()
    assert asked_series() <= set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE))


def test_prometheus_scrapes_each_of_our_services_where_it_tells_its_metrics() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    ports = {job["job_name"]: job["dns_sd_configs"][0]["port"] for job in scraped}
    assert all(job["dns_sd_configs"][0]["names"] == [job["job_name"]] for job in scraped)
    told = {name: service["environment"].get("REWARDLOOP_METRICS_PORT") for name, service in ours().items()}
    assert ports == {name: port for name, port in told.items() if port} | {"gateway": GatewaySettings().port}
    # A person's page, and what only makes ready.
    assert ours().keys() - ports.keys() == {"dashboard", "initialised"}


def test_the_collector_takes_what_the_services_send() -> None:
    collector = yaml.safe_load((ROOT / "deploy" / "collector" / "collector.yml").read_text())
    pipeline = collector["service"]["pipelines"]["traces"]
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert set(pipeline["receivers"]) <= collector["receivers"].keys()
    assert set(pipeline["processors"]) <= collector["processors"].keys()
    given = set(re.findall(r"\$\{env:(\w+)\}", (ROOT / "deploy" / "collector" / "collector.yml").read_text()))
    service = services()["collector"]
    assert given == set(service["environment"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert int(service["user"].split(":")[0]) > 0


@pytest.mark.parametrize(
    "command",
    [["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]],
    ids=["configuration", "alerts"],
)
def test_prometheus_own_tool_takes_the_rules(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on the path: it comes with Debian's package prometheus")
    folder = ROOT / "deploy" / "prometheus"
    done = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_operators_are_told_what_each_alert_asks_of_them() -> None:
    told = (ROOT / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in alert_rules() if f"| `{rule['alert']}` |" not in told] == []


def test_only_what_is_healthy_is_waited_for_and_everything_waits_for_the_schema() -> None:
    compose = services()
    for name, service in ours().items():
        for other, how in service["depends_on"].items():
            awaited = compose[other]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in awaited, f"{name} waits for {other}, which has no health check"
            else:
                assert how["condition"] == "service_completed_successfully", name
                assert awaited["restart"] == "no"
    waiting = {name for name, service in ours().items() if "initialised" in service["depends_on"]}
    assert waiting == ours().keys() - {"initialised", "dashboard"}


def test_a_gpu_goes_to_what_is_told_to_compute_on_it() -> None:
    overlay = yaml.safe_load((ROOT / "deploy" / "compose.gpu.yml").read_text())["services"]
    assert overlay.keys() == {"encoding", "fusion", "policy", "trainer-worker"}
    for name, service in overlay.items():
        assert ours()[name]["image"] == "rewardloop:torch"
        device = "REWARDLOOP_TRAINING_DEVICE" if name == "trainer-worker" else "REWARDLOOP_MODEL_DEVICE"
        assert service["environment"] == {device: "cuda"}
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert TrainerSettings(training_device="cuda").training_device == "cuda"
    assert ModelServiceSettings(model_device="cuda").model_device == "cuda"
