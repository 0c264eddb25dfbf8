"""The gateway keeps to its own OpenAPI document, whatever is sent."""

import asyncio
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.openapi import from_asgi
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import Binary

from tests.unit.services.gateway.conftest import LOOP, empty_database
from tests.unit.services.gateway.fakes import Gateway, ManualClock, MemoryLog, start_gateway

__all__ = ["empty_database"]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 20


@schemathesis.serializer("application/x-ndjson")
def one_line(_: schemathesis.SerializationContext, value: Any) -> bytes:
    return json.dumps(value).encode()


@schemathesis.serializer("application/msgpack")
def packed(_: schemathesis.SerializationContext, value: Any) -> bytes:
    try:
        # What it makes up for bytes it wraps.
        return msgspec.msgpack.encode(value, enc_hook=lambda wrapped: wrapped.data)
    except OverflowError:  # MessagePack has no such number, and nothing that begins with this byte
        return b"\xc1"


@schemathesis.serializer("application/x-tar")
def archived(_: schemathesis.SerializationContext, value: Any) -> bytes:
    """A tar with one file, which is no version's."""
    data = value.data if isinstance(value, Binary) else json.dumps(value, default=str).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


@pytest.fixture
def gateway(tmp_path: Path, empty_database: Path) -> Gateway:
    """With the loop `shoes`, a model version of it, and a decision `d-1`."""
    shutil.copy(empty_database, tmp_path / "rewardloop.db")
    gateway = start_gateway(tmp_path, MemoryLog(), ManualClock())

    async def prepare() -> None:
        async with gateway.client() as http:
            (await http.put("/v1/loops/shoes", json=LOOP)).raise_for_status()
            await gateway.publish("shoes", 1)
            (await http.post("/v1/loops/shoes/decisions", json={"decision_id": "d-1"})).raise_for_status()

    asyncio.run(prepare())
    return gateway


@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_documented_and_none_is_a_5xx(gateway: Gateway, mode: GenerationMode) -> None:
    operations = [
        one.ok() for one in from_asgi("/openapi.json", gateway.app).get_all_operations() if isinstance(one, Ok)
    ]
    assert len(operations) > 25
    for operation in operations:
        # What is open takes no input that could be wrong.
        if mode is GenerationMode.POSITIVE or operation.path.startswith("/v1"):
            _hold(gateway, operation, mode)


def _hold(gateway: Gateway, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def hold(case: schemathesis.Case[Any]) -> None:
        # Most made-up names would end at a 404.
        if "loop_id" in case.path_parameters and case.method != "DELETE":
            case.path_parameters["loop_id"] = "fuzzed" if case.method == "PUT" else "shoes"
        if "decision_id" in case.path_parameters:
            case.path_parameters["decision_id"] = "d-1"
        case.call_and_validate(checks=CHECKS, headers={"Authorization": f"Bearer {gateway.manage_key}"})

    hold()
