"""Mutual TLS between services, with certificates of an authority that a library makes."""

import asyncio
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from deploy.images.health import serves
from shared.grpc import MutualTls, listen, mutual_tls, open_blocking_channel, open_channel
from shared.settings import PlatformSettings

CHECK = health_pb2.HealthCheckRequest()


def certified(by: trustme.CA, host: str = "localhost", *, trusts: trustme.CA | None = None) -> MutualTls:
    issued = by.issue_cert(host)
    certificate = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return MutualTls(certificate, issued.private_key_pem.bytes(), (trusts or by).cert_pem.bytes())


async def serve(tls: MutualTls | None) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = listen(server, "localhost:0", tls)
    await server.start()
    return server, f"localhost:{port}"


async def test_who_shows_a_certificate_of_the_authority_is_answered() -> None:
    authority = trustme.CA()
    server, address = await serve(certified(authority))
    async with open_channel(address, certified(authority, "gateway")) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(CHECK, timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    await server.stop(None)


@pytest.mark.parametrize("caller", ["plain", "of another authority"])
async def test_who_does_not_is_refused(caller: str) -> None:
    authority = trustme.CA()
    server, address = await serve(certified(authority))
    tls = None if caller == "plain" else certified(trustme.CA(), trusts=authority)
    async with open_channel(address, tls) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await health_pb2_grpc.HealthStub(channel).Check(CHECK, timeout=10)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


@pytest.mark.parametrize("host", ["fusion", "localhost"])
async def test_a_server_is_called_by_the_name_that_its_certificate_has(host: str) -> None:
    authority = trustme.CA()
    server, address = await serve(certified(authority, host))
    async with open_channel(address, certified(authority)) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(CHECK, timeout=10)
        if host == "localhost":
            await check
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await check
    await server.stop(None)


async def test_files_of_the_settings_serve_both_ends_and_the_health_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = certified(trustme.CA())
    for name in ("certificate", "key", "authority"):
        (tmp_path / name).write_bytes(getattr(tls, name))
        monkeypatch.setenv(f"REWARDLOOP_GRPC_{name.upper()}", str(tmp_path / name))
    read = mutual_tls(PlatformSettings())
    assert read == tls
    server, address = await serve(read)
    assert await asyncio.to_thread(serves, f"grpc://{address}")
    assert await asyncio.to_thread(_checks, address, read)
    await server.stop(None)


def _checks(address: str, tls: MutualTls) -> bool:
    with open_blocking_channel(address, tls) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(CHECK, timeout=10)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
