"""A gateway over fakes, on a database and an artifact store of its own."""

import shutil
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.db.engine import open_engine
from shared.db.upgrading import upgrade
from tests.unit.services.gateway.fakes import Gateway, ManualClock, MemoryLog, start_gateway

LOOP: dict[str, Any] = {
    "modalities": {
        "photo": {"kind": "image"},
        "title": {"kind": "text"},
        "user": {"kind": "tabular"},
        "voice": {"kind": "audio"},
        "clip": {"kind": "video"},
        "vector": {"kind": "embedding", "dimension": 3},
    },
    "actions": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
    "reward": {
        "metrics": {
            "click": {"weight": 1.0},
            "dwell": {"weight": 0.5, "modality": "photo"},
            "caption": {"scorer": {"kind": "captioning"}},
        },
        "range": [0, 1],
    },
}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema and nothing else: copying it is quicker than migrating."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def make_gateway(tmp_path: Path, empty_database: Path) -> Callable[..., Gateway]:
    """Makes a gateway; a second one of the same test works on the same state, as after a restart."""
    shutil.copy(empty_database, tmp_path / "rewardloop.db")
    return partial(start_gateway, tmp_path, MemoryLog(), ManualClock())


@pytest.fixture
async def gateway(make_gateway: Callable[..., Gateway]) -> Gateway:
    gateway = make_gateway()
    await gateway.catch_up()
    return gateway


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """Calls with the manage key; there is a loop `shoes` (see LOOP) without a model version."""
    async with gateway.client() as client:
        (await client.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
        yield client
