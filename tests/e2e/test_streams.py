"""The benchmark streams beside the project run against the platform as it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import KEY, Platform


@pytest.fixture(scope="session")
def streams(shared_data: Path) -> Path:
    script = shared_data.parent / "bench" / "streams.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    return script


def run(script: Path, platform: Platform, *arguments: str) -> tuple[dict[str, float], str]:
    """The report of one stream, and the digest of its choices."""
    command = [sys.executable, str(script), "--url", platform.url, "--key", KEY, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.rsplit("decisions ", 1)[1].strip()


@pytest.mark.parametrize("stream", ["digits", "av"])
def test_stream_runs_at_a_rate(shared_platform: Platform, streams: Path, stream: str) -> None:
    report, _ = run(streams, shared_platform, "--stream", stream, "--n", "200", "--rate", "100")
    assert report["n"] == 200


@pytest.mark.long
def test_stream_learns_by_asking_for_fine_tunes(shared_platform: Platform, streams: Path) -> None:
    brief = json.dumps({"learning": {"max_steps": 200}})
    asked = ("--stream", "digits", "--n", "750", "--train-every", "250", "--loop", brief)
    report, _ = run(streams, shared_platform, *asked)
    assert report["last"] > 0.3


@pytest.mark.long
def test_same_ids_and_seed_give_the_same_decisions(tmp_path: Path, streams: Path) -> None:
    digests = set()
    arguments = ("--stream", "digits", "--n", "200", "--same", "--train-every", "100")
    for attempt in ("first", "second"):
        platform = Platform(tmp_path / attempt)
        platform.start()
        try:
            _, digest = run(streams, platform, *arguments)
        finally:
            platform.stop()
        digests.add(digest)
    assert len(digests) == 1
