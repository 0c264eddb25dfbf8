"""How soon a promotion and a rollback decide everything on two gateways, and whether a decision fails meanwhile.

A second gateway joins a platform on the servers of `make services` (the local log has one writer). Both are asked again
and again, without a pause, who decides, while version 1 is promoted through the first one and rolled back; a time found
is from the call to the last answer by the version before.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks.decide import platform_body
from benchmarks.measured import machine
from benchmarks.production import production, variables
from benchmarks.serving import another_gateway, member, served_platform, wait_until
from benchmarks.shadow import LOOP, make_two_versions

SETTLED: Final = 3.0


@dataclass
class Watch:
    """What one gateway answered: when each version was last seen, and every answer that no version made."""

    url: str
    key: str
    last_seen: dict[str, float] = field(default_factory=dict)
    decisions: int = 0
    failed: list[str] = field(default_factory=list)

    def ask(self, stop: threading.Event) -> None:
        """Decides until `stop`."""
        body = json.dumps(platform_body()).encode()
        with httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as http:
            while not stop.is_set():
                self.decisions += 1
                try:
                    answer = http.post(f"/v1/loops/{LOOP}/decisions", content=body)
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                    continue
                if answer.is_success and (version := answer.json()["model_version"]) is not None:
                    self.last_seen[version] = time.monotonic()
                else:
                    self.failed.append(answer.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of a promotion and its rollback")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        production(Path(folder)) as settings,
        served_platform(Path(folder), **variables(settings)) as (url, key, platform),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
    ):
        make_two_versions(http, json.dumps(platform_body()).encode())
        with (
            another_gateway(member(platform, "services.gateway"), Path(folder) / "second-spool") as (other, _),
            watching([Watch(url, key), Watch(other, key)]) as watches,
        ):
            seconds = [one for _ in range(options.rounds) for one in there_and_back(http, watches)]
    failed = [text for watch in watches for text in watch.failed]
    decisions = sum(watch.decisions for watch in watches)
    print(f"{len(seconds)} switches on two gateways: {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s")
    print(f"{decisions} decisions meanwhile, {len(failed)} not made by a version", *failed[:3], sep="\n")
    print("PROMOTION", json.dumps({"machine": machine(), "seconds": seconds, "failed": len(failed)}))


@contextmanager
def watching(watches: Sequence[Watch]) -> Iterator[Sequence[Watch]]:
    stop = threading.Event()
    threads = [threading.Thread(target=watch.ask, args=(stop,)) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all("2" in watch.last_seen for watch in watches), "version 2 decides at both")
        yield watches
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def there_and_back(http: httpx.Client, watches: Sequence[Watch]) -> Iterator[float]:
    """Seconds until version 1 alone decides at both, and until version 2 does again."""
    rollouts = f"/v1/loops/{LOOP}/rollouts"
    began = time.monotonic()
    body = {"model_version": "1", "strategy": "immediate"}
    rollout = http.post(rollouts, json=body).raise_for_status().json()["rollout_id"]
    time.sleep(SETTLED)
    yield max(watch.last_seen["2"] for watch in watches) - began
    began = time.monotonic()
    http.post(f"{rollouts}/{rollout}/rollback").raise_for_status()
    time.sleep(SETTLED)
    yield max(watch.last_seen["1"] for watch in watches) - began


if __name__ == "__main__":
    main()
