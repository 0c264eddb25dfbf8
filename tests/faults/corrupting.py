"""Artifacts that are not what they were when a service loads them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from shared.registry.manifest import Manifest
from tests.faults.bench import TENANT, Bench
from tests.faults.stored import read_stored


def corrupt(how: Callable[[Path], None]) -> Callable[[Bench, str, float], None]:
    """An artifact of the champion is not what it was when policy starts; at the end it is again."""

    def inject(bench: Bench, loop_id: str, seconds: float) -> None:
        path = _artifact(bench, loop_id)
        whole = path.read_bytes()
        try:
            how(path)
            bench.victim("policy").kill()
            bench.until(lambda: not bench.answers("policy"), "the gateway misses policy")
            # Only one that has started can refuse it.
            bench.until(lambda: bench.answers("policy"), "policy runs again")
            time.sleep(seconds)
        finally:
            path.unlink()
            path.write_bytes(whole)

    return inject


def bit_flipped(path: Path) -> None:
    """In a tensor: it would load."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def swapped(path: Path) -> None:
    """The bytes of another artifact."""
    others = (other for other in path.parents[1].glob("??/*") if other != path)
    path.write_bytes(next(others).read_bytes())


def linked(path: Path) -> None:
    """A link to the same bytes, out of the store."""
    outside = path.parents[2] / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def _artifact(bench: Bench, loop_id: str) -> Path:
    """Of policy's part of the loop's newest version."""
    version = max(read_stored(bench.engine, TENANT, loop_id).versions, key=lambda one: one.version)
    store = bench.home / "artifacts"
    manifest = Manifest.model_validate_json(
        (store / version.manifest_sha256[:2] / version.manifest_sha256).read_bytes()
    )
    sha256 = manifest.parts["policy"]
    return store / sha256[:2] / sha256
