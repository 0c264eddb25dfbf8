"""Model versions as folders: brought out, taken in, refused; and those collected that nothing needs."""

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load, save
from sqlalchemy import select

from shared.db.engine import read_session, write_session
from shared.db.tables import ModelArtifactRow
from shared.domain import ModelRef, Retention
from shared.loop_settings import LoopSettings
from shared.networks.parts import load_policy
from shared.registry.manifest import Manifest, TrunkIdentity
from shared.registry.version_files import NAMES
from shared.registry.versions import add_version, move_alias
from tests.unit.services.gateway.fakes import Gateway, version_of
from tests.versions import manifest_of, parts_of

LOOP: dict[str, Any] = {
    "modalities": {"title": {"kind": "text"}, "vector": {"kind": "embedding", "dimension": 3}},
    "actions": [{"id": "a"}, {"id": "b"}],
}
URL = "/v1/loops/hats/models"
DAY = 86_400_000_000


def register(
    gateway: Gateway, version: int, *, champion: bool = False, settings: LoopSettings | None = None, seed: int = 0
) -> ModelRef:
    """A version of the loop `hats` with real weights."""
    served = gateway.parts.directory.loop("default", "hats")
    assert served is not None
    settings = settings or served.loop.settings
    ref, store = ModelRef("default", "hats", version), gateway.ports.artifacts
    manifest = manifest_of(settings, ref, {})
    files = parts_of(manifest.architecture, seed or version, experienced=True)
    parts = {part: store.put(data) for part, data in files.items()}
    manifest = manifest.model_copy(update={"parts": parts, "covers_sequence": 300, "metrics": {"gate": "passed"}})
    return add(gateway, manifest, champion=champion)


def add(gateway: Gateway, manifest: Manifest, *, champion: bool = False) -> ModelRef:
    sha256 = gateway.ports.artifacts.put(manifest.model_dump_json().encode())
    ref = ModelRef(manifest.tenant, manifest.loop_id, manifest.version)
    with write_session(gateway.ports.engine) as session:
        add_version(session, version_of(manifest, sha256))
        if champion:
            move_alias(session, ref, "champion", gateway.clock())
    return ref


def untarred(tar: bytes, folder: Path) -> dict[str, bytes]:
    """By the standard library, which knows nothing of ours."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        archive.extractall(folder, filter="data")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tarred(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
async def hats(gateway: Gateway, http: httpx.AsyncClient) -> dict[str, bytes]:
    """The loop `hats` and one alike, `caps`; version 7 of hats, exported."""
    for loop_id in ("hats", "caps"):
        (await http.put(f"/v1/loops/{loop_id}", json=LOOP)).raise_for_status()
    register(gateway, 7, champion=True)
    answer = await http.get(f"{URL}/7/files")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr] # all files


async def take(http: httpx.AsyncClient, files: Mapping[str, bytes] | bytes, loop_id: str = "caps") -> httpx.Response:
    body = files if isinstance(files, bytes) else tarred(files)
    return await http.post(f"/v1/loops/{loop_id}/models:import", content=body)


def test_a_version_is_a_folder_that_other_tools_can_read(hats: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    files = untarred(tarred(hats), folder)
    assert set(files) == set(NAMES)
    sums = shutil.which("sha256sum")
    assert sums is not None
    assert subprocess.run([sums, "--check", "--strict", "SHA256SUMS"], cwd=folder, check=False).returncode == 0
    manifest = Manifest.model_validate_json(files["manifest.json"])
    load_policy(manifest.architecture, files["policy.safetensors"])
    card = files["README.md"].decode()
    manifest_sha256 = hashlib.sha256(files["manifest.json"]).hexdigest()
    for told in ("# hats, version 7", "version 6", manifest_sha256, manifest.parts["fusion"], "`vector`", "passed"):
        assert told in card


async def test_a_version_is_taken_in_once_with_its_lineage_and_can_be_rolled_out(
    hats: dict[str, bytes], http: httpx.AsyncClient, gateway: Gateway
) -> None:
    answer = await take(http, hats)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    origin = found["imported_from"]
    assert (found["version"], found["status"], found["parent"], found["covers_sequence"]) == ("1", "ready", None, 0)
    assert (origin["loop_id"], origin["model_version"], origin["parent"]) == ("hats", "7", "6")
    assert origin["manifest_sha256"] == hashlib.sha256(hats["manifest.json"]).hexdigest()
    there = Manifest.model_validate_json(hats["manifest.json"])
    assert {part: one["sha256"] for part, one in found["parts"].items()} == dict(there.parts)
    again = await take(http, hats)
    assert (again.status_code, again.json()) == (200, found)
    # Where it was made it is no other version than itself.
    at_home = await take(http, hats, "hats")
    assert (at_home.status_code, at_home.json()["version"]) == (200, "7")
    rollout = await http.post("/v1/loops/caps/rollouts", json={"model_version": "1", "strategy": "immediate"})
    assert (rollout.status_code, rollout.json()["status"]) == (201, "promoted")
    ref = ModelRef("default", "caps", 1)
    gateway.models.load(ref)
    await gateway.catch_up()
    decided = await http.post("/v1/loops/caps/decisions", json={"context": {"title": "x"}})
    assert decided.json()["model_version"] == "1"
    assert [row["verb"] for row in (await http.get("/v1/audit")).json()["items"]].count("import") == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda files: b"", "no tar"),
        (lambda files: b"no tar" * 200, "no tar"),
        (lambda files: tarred({}), "manifest.json is missing"),
        (lambda files: tarred(files)[:-20_000], "cut off"),
        (lambda files: {**files, "../../escaped": b"x"}, "'../../escaped'"),
        (lambda files: {**files, "/etc/passwd": b"x"}, "'/etc/passwd'"),
        (lambda files: {name: data for name, data in files.items() if name != "fusion.safetensors"}, "fusion.safe"),
        (lambda files: {**files, "policy.safetensors": files["policy.safetensors"][:-1] + b"!"}, "SHA256SUMS"),
        (lambda files: without_sums(files) | {"manifest.json": b"{}"}, "manifest.json cannot be read: tenant"),
        (lambda files: without_sums(files) | {"fusion.safetensors": files["encoding.safetensors"]}, "another one"),
        (lambda files: with_part(files, "fusion", b"no tensors"), "is not a safetensors file"),
        (lambda files: with_part(files, "fusion", not_finite(files["fusion.safetensors"])), "not finite"),
        (lambda files: with_part(files, "fusion", wider(files["fusion.safetensors"])), "versions like it have"),
    ],
)
async def test_what_is_no_version_is_refused_and_nothing_is_stored(
    hats: dict[str, bytes], http: httpx.AsyncClient, gateway: Gateway, tmp_path: Path, spoil: Any, told: str
) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if path.parent.parent.name == "artifacts")
    if "versions like it" in told:
        (await take(http, hats)).raise_for_status()
    known = (await http.get("/v1/loops/caps/models")).json()
    answer = await take(http, spoil(hats))
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:rewardloop:problem:not-a-version")
    assert told in problem["detail"]
    assert (await http.get("/v1/loops/caps/models")).json() == known
    if not known["items"]:
        assert sorted(path for path in tmp_path.rglob("*") if path.parent.parent.name == "artifacts") == before
    assert not (tmp_path.parent / "escaped").exists()


def without_sums(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != "SHA256SUMS"}


def with_part(files: Mapping[str, bytes], part: Any, data: bytes) -> dict[str, bytes]:
    """Of another version: its manifest has the hash."""
    manifest = Manifest.model_validate_json(files["manifest.json"])
    parts = {**manifest.parts, part: hashlib.sha256(data).hexdigest()}
    changed = manifest.model_copy(update={"parts": parts}).model_dump_json().encode()
    return without_sums(files) | {f"{part}.safetensors": data, "manifest.json": changed}


def not_finite(data: bytes) -> bytes:
    tensors = load(data)
    first = next(iter(tensors))
    return save(tensors | {first: np.full_like(tensors[first], np.nan)})


def wider(data: bytes) -> bytes:
    tensors = load(data)
    first = next(iter(tensors))
    return save(tensors | {first: np.zeros((3, 5), np.float32)})


async def test_a_link_and_a_file_of_another_size_than_is_allowed_are_refused(
    hats: dict[str, bytes], http: httpx.AsyncClient
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    answer = await take(http, buffer.getvalue())
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:rewardloop:problem:not-a-version")
    wrong = await http.post("/v1/loops/caps/models:import", content=b"{}", headers={"Content-Type": "application/json"})
    assert wrong.status_code == 415


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"modalities": {"title": {"kind": "text"}, "vector": {"kind": "embedding", "dimension": 5}}}, "vector"),
        ({"modalities": {"photo": {"kind": "image"}}}, "does not read modality photo"),
        ({"actions": [{"id": "x"}, {"id": "y"}]}, "none of the loop's actions"),
        ({"problem_type": "episodic"}, "problems of type cb"),
    ],
)
async def test_a_version_that_does_not_fit_is_refused(
    hats: dict[str, bytes], http: httpx.AsyncClient, change: dict[str, object], told: str
) -> None:
    (await http.put("/v1/loops/caps", json=LOOP | change)).raise_for_status()
    answer = await take(http, hats)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:rewardloop:problem:version-unusable")
    assert told in answer.json()["detail"]
    assert (await http.get("/v1/loops/caps/models")).json()["items"] == []


async def test_a_version_that_another_encoder_made_unusable_is_neither_rolled_out_nor_taken_in(
    http: httpx.AsyncClient, gateway: Gateway
) -> None:
    named = LOOP | {"modalities": {"title": {"kind": "text", "encoder": "sentence-transformers:minilm"}}}
    (await http.put("/v1/loops/hats", json=named)).raise_for_status()
    champion = read_through(gateway, 1, "a" * 64)
    add(gateway, champion, champion=True)
    add(gateway, read_through(gateway, 2, "b" * 64))
    add(gateway, read_through(gateway, 3, "a" * 64))
    refused = await http.post("/v1/loops/hats/rollouts", json={"model_version": "2", "strategy": "immediate"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:rewardloop:problem:version-unusable")
    assert "another encoder than the `sentence-transformers:minilm` that is here" in refused.json()["detail"]
    await gateway.catch_up()
    assert (await http.get("/v1/loops/hats")).json()["aliases"] == {"champion": "1"}
    taken = await http.post("/v1/loops/hats/rollouts", json={"model_version": "3", "strategy": "immediate"})
    assert taken.status_code == 201


def read_through(gateway: Gateway, version: int, sha256: str) -> Manifest:
    """A version that reads titles through an encoder of that hash."""
    served = gateway.parts.directory.loop("default", "hats")
    assert served is not None
    manifest = manifest_of(served.loop.settings, ModelRef("default", "hats", version), {"encoding": "c" * 64})
    trunks = {"title": TrunkIdentity(sha256=sha256, dimension=4)}
    return manifest.model_copy(update={"architecture": manifest.architecture.model_copy(update={"trunks": trunks})})


async def test_weights_that_nothing_needs_go_and_come_back_by_an_import(
    hats: dict[str, bytes], http: httpx.AsyncClient, gateway: Gateway
) -> None:
    collector = gateway.parts.versions.collector
    object.__setattr__(collector, "retention", Retention(versions=2, least_age=DAY))
    for version in (8, 9, 10):
        register(gateway, version)
    body = {"model_version": "8", "strategy": "immediate"}
    (await http.post("/v1/loops/hats/rollouts", json=body)).raise_for_status()
    early = (await http.post(f"{URL}:collect", json={"dry_run": True})).json()
    assert early["collected"] == []
    assert set(early["kept"]) == {"7", "8", "9", "10"}
    tar = (await http.get(f"{URL}/8/files")).content
    register(gateway, 11, seed=8)
    for version in (9, 10, 11):
        body = {"model_version": str(version), "strategy": "immediate"}
        (await http.post("/v1/loops/hats/rollouts", json=body)).raise_for_status()
    gateway.clock.now += 2 * DAY
    dry = (await http.post(f"{URL}:collect", json={"dry_run": True})).json()
    # A promotion can be taken back to the one before, and so on: 11, 10, 9, 8, 7.
    assert (dry["collected"], dry["kept"]["8"]) == ([], "a rollout may bring it out, or back")
    with write_session(gateway.ports.engine) as session:
        move_alias(session, ModelRef("default", "hats", 7), "champion", gateway.clock.now - 2 * DAY)
    dry = (await http.post(f"{URL}:collect", json={"dry_run": True})).json()
    assert (dry["collected"], dry["kept"]["7"]) == (["9", "8"], "an alias names it, or did lately")
    assert (await http.get(f"{URL}/8")).json()["status"] == "ready"
    done = (await http.post(f"{URL}:collect")).json()
    assert {**done, "dry_run": True} == dry
    gone = (await http.get(f"{URL}/8")).json()
    # Version 11 has the same weights: they stay.
    assert (gone["status"], gone["parts"]["policy"]["bytes"] is not None) == ("collected", True)
    assert (await http.get(f"{URL}/9")).json()["parts"]["policy"]["bytes"] is None
    for call in (http.get(f"{URL}/8/files"), http.post("/v1/loops/hats/rollouts", json={"model_version": "8"})):
        refused = await call
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:rewardloop:problem:version-collected")
    back = await take(http, tar, "hats")
    assert (back.status_code, back.json()["version"], back.json()["status"]) == (200, "8", "ready")
    assert (await http.get(f"{URL}/8/files")).content == tar
    with read_session(gateway.ports.engine) as session:
        kept = set(session.scalars(select(ModelArtifactRow.sha256)))
    assert {one["sha256"] for one in back.json()["parts"].values()} <= kept
