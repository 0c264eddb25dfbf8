"""Decisions per second through the whole platform, beside the bare limit of the machine, in one run.

The decision is that of the peers in ../shared/bench/peers: three embeddings, ten actions with 32 features, one action
drawn with its probability. The limit is their bare uvicorn process with gathered batches, which checks no key, logs
nothing and calls no service. wrk (Debian's) drives both from the same machine.
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
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

PEERS = Path(__file__).resolve().parents[2] / "shared/bench/peers"
DIMENSIONS = {"text": 384, "image": 512, "audio": 128}
ACTIONS, FEATURES = 10, 32
LOOP = "benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--seconds", type=int, default=5, help="of one run")
    parser.add_argument("--runs", type=int, default=3, help="the median of them counts")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here: apt-get install wrk")
    connections = [int(count) for count in options.connections.split(",")]
    results = {"Rewardloop, all services": measure_platform(connections, options.seconds, options.runs)}
    if PEERS.is_dir():
        results["the bare limit (no key, no log, no services)"] = measure_limit(
            connections, options.seconds, options.runs
        )
    show(results, connections)
    print("DECIDE", json.dumps(results))


def measure_platform(connections: list[int], seconds: int, runs: int) -> dict[int, dict[str, float]]:
    with tempfile.TemporaryDirectory() as home, served_platform(Path(home)) as (url, key, process):
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
            modalities = {name: {"kind": "embedding", "dimension": size} for name, size in DIMENSIONS.items()}
            http.put(f"/v1/loops/{LOOP}", json={"modalities": modalities}).raise_for_status()
            body = json.dumps(platform_body()).encode()
            while http.post(f"/v1/loops/{LOOP}/decisions", content=body).raise_for_status().json()["fallback_reason"]:
                time.sleep(0.2)
        measured = drive(f"{url}/v1/loops/{LOOP}/decisions", body, connections, seconds, runs, {"KEY": key})
        memory = sum(member.memory_full_info().pss for member in tree(process)) / 2**20
        print(f"all processes of the platform together: {memory:.0f} MB (PSS)")
        return measured


def measure_limit(connections: list[int], seconds: int, runs: int) -> dict[int, dict[str, float]]:
    sys.path.insert(0, str(PEERS))
    from model import payload_json  # type: ignore[import-not-found] # the peers' folder, where it is there

    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "s_fastapi:app",
        "--port",
        "8009",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    environment = os.environ | {"GCF": "100000", "MODE": "batch", "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen([*command, "--no-access-log", "--log-level", "warning"], cwd=PEERS, env=environment)
    try:
        url, body = "http://127.0.0.1:8009/v1/decide", payload_json()
        wait_for(url, body, process)
        return drive(url, body, connections, seconds, runs, {})
    finally:
        process.terminate()
        process.wait()


def platform_body() -> dict[str, object]:
    """The peers' payload as a decision of the platform."""
    generator = np.random.default_rng(0)

    def floats(count: int) -> list[float]:
        return [round(float(value), 6) for value in generator.standard_normal(count)]

    context = {name: floats(size) for name, size in DIMENSIONS.items()}
    features = [{f"f{index}": value for index, value in enumerate(floats(FEATURES))} for _ in range(ACTIONS)]
    return {"context": context, "actions": [{"id": f"a{i}", "features": row} for i, row in enumerate(features)]}


@contextmanager
def served_platform(home: Path, **more: str) -> Iterator[tuple[str, str, subprocess.Popen[bytes]]]:
    environment = os.environ | {"REWARDLOOP_HOME": str(home), "REWARDLOOP_BOOTSTRAP_KEY": "benchmark-" + "0" * 40}
    environment |= {"REWARDLOOP_PORT": "8010", "REWARDLOOP_DASHBOARD_PORT": "8011"}
    process = subprocess.Popen([sys.executable, "-m", "services", "up"], env=environment | more)
    try:
        wait_for("http://127.0.0.1:8010/readyz", None, process)
        yield "http://127.0.0.1:8010", environment["REWARDLOOP_BOOTSTRAP_KEY"], process
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str, body: bytes | None, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            if httpx.request("GET" if body is None else "POST", url, content=body).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit(f"the server of {url} has ended")


def drive(
    url: str, body: bytes, connections: list[int], seconds: int, runs: int, environment: Mapping[str, str]
) -> dict[int, dict[str, float]]:
    """Medians over the runs of rate, p50 and p99, and the sum of errors, by number of connections."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body)

        def run(count: int, length: int) -> dict[str, float]:
            script = str(Path(__file__).with_name("decide.lua"))
            command = ["wrk", "-t1", f"-c{count}", f"-d{length}s", "--timeout", "5s", "-s", script, url]
            output = subprocess.run(
                command, env=os.environ | {"BODY": file.name, **environment}, check=True, capture_output=True
            )
            found = re.search(rb"RESULT (.*)", output.stdout)
            assert found is not None
            figures: dict[str, float] = json.loads(found[1])
            return figures

        run(16, 3)
        measured = {count: [run(count, seconds) for _ in range(runs)] for count in connections}
    return {
        count: {name: statistics.median(figures[name] for figures in rows) for name in ("rate", "p50_ms", "p99_ms")}
        | {"errors": sum(figures["errors"] for figures in rows)}
        for count, rows in measured.items()
    }


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that it started."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def show(results: Mapping[str, Mapping[int, Mapping[str, float]]], connections: list[int]) -> None:
    table = Table(title=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    table.add_column("server")
    for count in connections:
        table.add_column(f"{count} connections", justify="right")
    for name, measured in results.items():
        table.add_row(
            name,
            *(
                f"{m['rate']:,.0f}/s\np50 {m['p50_ms']:.1f} ms\np99 {m['p99_ms']:.1f} ms\nerrors {m['errors']:.0f}"
                for m in measured.values()
            ),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
