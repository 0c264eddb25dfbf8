"""Decisions per second of the whole platform, beside the bare limit of the machine and other model servers, in one run.

The decision is that of the peers in ../shared/bench/peers: three embeddings, ten actions with 32 features, one action
drawn with its probability. Ours comes over HTTP with its key checked, goes through three gRPC services and is on the
disk before it is answered. The limit is the peers' bare process with gathered batches: it checks no key, logs nothing
and calls no service. All are measured in turn, so that what else the machine does strikes each alike; wrk (Debian's)
drives them from the same machine. Joiner, trainer and dashboard pause, but in the line that says otherwise.

LitServe, BentoML and Ray Serve take part where `--peers` names a copy of that folder in which install.sh has run.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.serving import paused, served_platform, tree, wait_for, wait_for_version

PEERS: Final = Path(__file__).resolve().parents[2] / "shared/bench/peers"
DIMENSIONS: Final = {"text": 384, "image": 512, "audio": 128}
MODALITIES: Final = {name: {"kind": "embedding", "dimension": size} for name, size in DIMENSIONS.items()}
ACTIONS, FEATURES = 10, 32
LOOP: Final = "benchmark"
LIMIT: Final = "the bare limit (no key, no log, no services)"
FIGURES: Final = ("rate", "p50_ms", "p99_ms", "cpu_ms")
# Of the platform: what a decision goes through.
SERVING: Final = (
    "services model-services",
    "services.encoding",
    "services.fusion",
    "services.policy",
    "services.gateway",
)

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """What wrk drives: where, with which body and key, and whose processor time counts."""

    url: str
    body: bytes
    processes: Sequence[psutil.Process]
    key: str = ""


# Starts a server, and ends it.
Start = Callable[[], AbstractContextManager[Target]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--seconds", type=int, default=5, help="of one run")
    parser.add_argument("--runs", type=int, default=3, help="of each server, in turn; the median counts")
    parser.add_argument("--peers", type=Path, default=PEERS, help="the folder of the other servers")
    parser.add_argument("--only", default="", help="measure servers whose names hold this alone")
    options = parser.parse_args()
    require_wrk()
    connections = [int(count) for count in options.connections.split(",")]
    servers = {name: start for name, start in servers_of(options.peers).items() if options.only in name}
    runs: dict[str, list[dict[int, Figures]]] = {name: [] for name in servers}
    for _ in range(options.runs):
        for name, start in servers.items():
            with start() as target:
                runs[name].append(drive(target, connections, options.seconds))
    results = {name: medians(of_server) for name, of_server in runs.items()}
    show(results, connections)
    print("DECIDE", json.dumps(results))


def require_wrk() -> None:
    """Ends the benchmark where there is none."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here: apt-get install wrk")


def servers_of(peers: Path) -> dict[str, Start]:
    """Everything that can be measured here, by name."""
    servers: dict[str, Start] = {
        "Rewardloop, three services": lambda: serving_platform(separate=True),
        "Rewardloop, co-located": lambda: serving_platform(separate=False),
        "Rewardloop, co-located, joiner and trainer beside it": lambda: serving_platform(separate=False, whole=True),
    }
    if (peers / "s_fastapi.py").is_file():
        bare = [sys.executable, "-m", "uvicorn", "s_fastapi:app", "--port", "8000", "--loop", "uvloop"]
        quiet = ["--http", "httptools", "--no-access-log", "--log-level", "warning"]
        servers[LIMIT] = lambda: serving_peer(peers, [*bare, *quiet], GCF="100000", MODE="batch")
    commands = {
        "LitServe": ["vlit/bin/python", "s_litserve.py"],
        "BentoML": ["vbento/bin/bentoml", "serve", "s_bento:Svc", "--host", "127.0.0.1", "--port", "8000", "-q"],
        "Ray Serve": ["vray/bin/python", "s_ray.py"],
    }
    for name, (program, *arguments) in commands.items():
        if (peers / program).exists():
            command = [str(peers / program), *arguments]
            servers[name] = lambda command=command, name=name: serving_peer(peers, command, nested=name == "BentoML")  # type: ignore[misc] # mypy takes no defaults of a lambda into account
    return servers


@contextmanager
def serving_platform(separate: bool, whole: bool = False) -> Iterator[Target]:
    """The platform with one loop that decides; all but what decides is paused, unless it is to run as a whole."""
    apart = {"REWARDLOOP_SEPARATE_MODEL_SERVICES": str(separate).lower()}
    with tempfile.TemporaryDirectory() as home, served_platform(Path(home), **apart) as (url, key, process):
        body = json.dumps(platform_body()).encode()
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            http.put(f"/v1/loops/{LOOP}", json={"modalities": MODALITIES}).raise_for_status()
            wait_for_version(http, f"/v1/loops/{LOOP}/decisions", body)
        decides, others = split(process)
        with paused([] if whole else others):
            yield Target(f"{url}/v1/loops/{LOOP}/decisions", body, [*decides, *others] if whole else decides, key)
            last = httpx.post(f"{url}/v1/loops/{LOOP}/decisions", content=body, headers=headers, timeout=60)
            if (reason := last.raise_for_status().json()["fallback_reason"]) is not None:
                sys.exit(f"no model decided, so nothing was measured: {reason}")


def split(platform: subprocess.Popen[bytes]) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """A platform's processes: those that a decision goes through, and the others."""
    children = tree(platform)[1:]
    decides = [one for one in children if any(name in " ".join(one.cmdline()) for name in SERVING)]
    return decides, [one for one in children if one not in decides]


@contextmanager
def serving_peer(peers: Path, command: Sequence[str], nested: bool = False, **more: str) -> Iterator[Target]:
    """A server of the peers' folder on port 8000; `nested`: its body holds a list of decisions, of one."""
    payload = peer_body()
    body = json.dumps({"xs": [payload]} if nested else payload).encode()
    environment = os.environ | more | {"PYTHONPATH": str(peers), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(command, cwd=peers, env=environment, start_new_session=True)
    try:
        wait_for("http://127.0.0.1:8000/v1/decide", body, process)
        yield Target("http://127.0.0.1:8000/v1/decide", body, tree(process))
    finally:
        members = tree(process)
        process.terminate()
        _, left = psutil.wait_procs(members, timeout=10)
        for member in left:
            member.kill()
        process.wait()


def numbers() -> tuple[dict[str, list[float]], list[list[float]]]:
    """The peers' payload: embeddings by modality, and the features of each action, as float32 is written."""
    generator = np.random.default_rng(0)

    def floats(count: int) -> list[float]:
        return [float(str(number)) for number in generator.standard_normal(count).astype(np.float32)]

    return {name: floats(size) for name, size in DIMENSIONS.items()}, [floats(FEATURES) for _ in range(ACTIONS)]


def platform_body() -> dict[str, object]:
    """The payload as a decision of the platform, whose features have names."""
    context, actions = numbers()
    return {"context": context, "actions": named(actions)}


def named(rows: Sequence[Sequence[float]]) -> list[dict[str, object]]:
    """Actions of these features, which have names."""
    features = [{f"f{index}": value for index, value in enumerate(row)} for row in rows]
    return [{"id": f"a{index}", "features": row} for index, row in enumerate(features)]


def peer_body() -> dict[str, object]:
    context, actions = numbers()
    listed = [{"id": f"a{index}", "features": row} for index, row in enumerate(actions)]
    return {"request_id": "r0", "modalities": context, "actions": listed}


def drive(target: Target, connections: Sequence[int], seconds: int) -> dict[int, Figures]:
    """What `load` tells, by connections, once the target is warm."""
    load(target, 16, 3)
    return {count: load(target, count, seconds) for count in connections}


def load(target: Target, connections: int, seconds: int) -> Figures:
    """Rate, p50, p99, errors, and milliseconds of processor time a decision (wrk's not counted)."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(target.body)
        before = _processor_seconds(target.processes)
        figures = run_wrk("decide.lua", target, connections, seconds, BODY=file.name)
        spent = _processor_seconds(target.processes) - before
    return figures | {"cpu_ms": 1000 * spent / max(1.0, figures["rate"] * seconds)}


def run_wrk(script: str, target: Target, connections: int, seconds: int, **variables: str) -> Figures:
    """What a script of this folder prints: requests a second, p50, p99 and errors."""
    here = Path(__file__).parent
    environment = os.environ | {"KEY": target.key, "SHARED": str(here / "wrk.lua"), **variables}
    timing = [f"-c{connections}", f"-d{seconds}s", "--timeout", "5s"]
    command = ["wrk", "-t1", *timing, "-s", str(here / script), target.url]
    output = subprocess.run(command, env=environment, check=True, capture_output=True)
    found = re.search(rb"RESULT (.*)", output.stdout)
    assert found is not None
    figures: Figures = json.loads(found[1])
    return figures


def medians(runs: Sequence[Mapping[int, Figures]]) -> dict[int, Figures]:
    return {
        count: {name: statistics.median(run[count][name] for run in runs) for name in FIGURES}
        | {"errors": sum(run[count]["errors"] for run in runs)}
        for count in runs[0]
    }


def show(results: Mapping[str, Mapping[int, Figures]], connections: Sequence[int]) -> None:
    table = Table(title=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    table.add_column("server")
    for count in connections:
        table.add_column(f"{count} connections", justify="right")
    limit = results.get(LIMIT)
    for name, measured in results.items():
        table.add_row(name, *(_cell(m, None if limit is None else limit[count]) for count, m in measured.items()))
    Console().print(table)


def _cell(figures: Figures, limit: Figures | None) -> str:
    share = "" if limit is None else f" ({figures['rate'] / limit['rate']:.2f} of the limit)"
    return (
        f"{figures['rate']:,.0f}/s{share}\np50 {figures['p50_ms']:.1f}, p99 {figures['p99_ms']:.1f} ms\n"
        f"{figures['cpu_ms']:.2f} ms of processor\nerrors {figures['errors']:.0f}\n"
    )


def _processor_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


if __name__ == "__main__":
    main()
