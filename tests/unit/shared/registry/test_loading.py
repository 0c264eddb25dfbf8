from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from shared.db.engine import write_session
from shared.db.tables import ModelAliasRow, ModelVersionRow
from shared.domain import ModelRef
from shared.loop_settings import LoopSettings
from shared.registry.artifacts import ArtifactStore
from shared.registry.loading import LoadedVersions, ModelNotLoadedError
from shared.registry.manifest import Architecture
from tests.versions import LOOP, TENANT, register

SETTINGS = LoopSettings.model_validate({"modalities": {"title": {"kind": "text"}}, "actions": [{"id": "a"}]})


def ref(version: int, loop_id: str = LOOP) -> ModelRef:
    return ModelRef(TENANT, loop_id, version)


def served(loaded: LoadedVersions[bytes], *versions: int, loop_id: str = LOOP) -> list[int]:
    """Those of the versions that can be served."""
    found = []
    for version in versions:
        with suppress(ModelNotLoadedError):
            assert loaded.get(ref(version, loop_id)).manifest.version == version
            found.append(version)
    return found


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


class Builder:
    """Keeps the bytes, counts the builds, and fails on demand."""

    def __init__(self) -> None:
        self.built: list[bytes] = []
        self.error: Exception | None = None

    def __call__(self, architecture: Architecture, data: bytes) -> bytes:
        assert architecture == Architecture.of(SETTINGS)
        if self.error is not None:
            raise self.error
        self.built.append(data)
        return data


def test_loads_what_aliases_name_and_named_before_and_drops_the_rest(engine: Engine, store: ArtifactStore) -> None:
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    with pytest.raises(ModelNotLoadedError):
        loaded.get(ref(1))
    for version, expected in ((1, [1]), (2, [1, 2]), (3, [2, 3])):
        manifest = register(engine, store, SETTINGS, version)
        loaded.refresh()
        assert served(loaded, 1, 2, 3) == expected
        assert loaded.get(ref(version)).manifest == manifest
        assert loaded.get(ref(version)).part == store.get(manifest.parts["fusion"])


def test_a_version_that_no_alias_names_is_not_loaded(engine: Engine, store: ArtifactStore) -> None:
    register(engine, store, SETTINGS, 1, champion=False)
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    loaded.refresh()
    assert served(loaded, 1) == []


def test_a_part_that_versions_share_is_built_once(engine: Engine, store: ArtifactStore) -> None:
    builder = Builder()
    loaded = LoadedVersions(engine, store, "encoding", builder)
    for version, loop_id in ((1, "shoes"), (2, "shoes"), (1, "hats")):
        register(engine, store, SETTINGS, version, loop_id=loop_id, seed=7)
    loaded.refresh()
    assert served(loaded, 1, 2) == [1, 2]
    assert served(loaded, 1, loop_id="hats") == [1]
    assert len(builder.built) == 1


def part_path(store_folder: Path, sha256: str) -> Path:
    return store_folder / sha256[:2] / sha256


@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "link", "gone"])
@pytest.mark.parametrize("what", ["part", "manifest"])
def test_a_damaged_version_is_never_served_until_it_is_whole_again(
    engine: Engine, store: ArtifactStore, tmp_path: Path, damage: str, what: str
) -> None:
    register(engine, store, SETTINGS, 1)
    manifest = register(engine, store, SETTINGS, 2)
    sha256 = manifest.parts["fusion"] if what == "part" else store.put(manifest.model_dump_json().encode())
    path = part_path(tmp_path / "artifacts", sha256)
    whole = path.read_bytes()
    path.unlink()
    match damage:
        case "flip":
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "swap":
            path.write_bytes(part_path(tmp_path / "artifacts", manifest.parts["policy"]).read_bytes())
        case "link":
            (tmp_path / "elsewhere").write_bytes(whole)
            path.symlink_to(tmp_path / "elsewhere")
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    for _ in range(2):
        loaded.refresh()
        assert served(loaded, 1, 2) == [1]
    path.unlink(missing_ok=True)
    path.write_bytes(whole)
    loaded.refresh()
    assert served(loaded, 1, 2) == [1, 2]


def test_the_manifest_of_another_version_is_not_served(engine: Engine, store: ArtifactStore) -> None:
    other = register(engine, store, SETTINGS, 1)
    register(engine, store, SETTINGS, 2)
    with write_session(engine) as session:
        row = session.get_one(ModelVersionRow, (TENANT, LOOP, 2))
        row.manifest_sha256 = store.put(other.model_dump_json().encode())
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    loaded.refresh()
    assert served(loaded, 1, 2) == [1]


@pytest.mark.parametrize("error", [ValueError("not finite"), RuntimeError("not positive definite"), KeyError("part")])
def test_what_cannot_be_built_stops_nothing_else(engine: Engine, store: ArtifactStore, error: Exception) -> None:
    builder = Builder()
    loaded = LoadedVersions(engine, store, "policy", builder)
    register(engine, store, SETTINGS, 1)
    loaded.refresh()
    builder.error = error
    register(engine, store, SETTINGS, 2)
    loaded.refresh()
    assert served(loaded, 1, 2) == [1]
    builder.error = None
    loaded.refresh()
    assert served(loaded, 1, 2) == [1, 2]


def test_a_loop_that_is_made_again_is_served_by_its_own_versions(engine: Engine, store: ArtifactStore) -> None:
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    register(engine, store, SETTINGS, 1, seed=1)
    loaded.refresh()
    before = loaded.get(ref(1)).part
    with write_session(engine) as session:
        session.execute(delete(ModelAliasRow))
        session.execute(delete(ModelVersionRow))
    register(engine, store, SETTINGS, 1, seed=2)
    loaded.refresh()
    assert loaded.get(ref(1)).part != before


def test_keeps_serving_while_the_database_is_away(engine: Engine, store: ArtifactStore, tmp_path: Path) -> None:
    register(engine, store, SETTINGS, 1)
    loaded = LoadedVersions(engine, store, "fusion", Builder())
    loaded.refresh()
    engine.dispose()
    for file in tmp_path.glob("rewardloop.db*"):
        file.unlink()
    (tmp_path / "rewardloop.db").mkdir()
    loaded.refresh()
    assert served(loaded, 1, 2) == [1]
