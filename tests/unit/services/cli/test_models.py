"""Versions by commands: exported, imported by another loop, loaded by MLflow, collected."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from services.cli.version_folders import write_folder
from services.encoding.encoding import encode, load_encoder
from services.fusion.server import load_fusion
from services.policy.deciding import load_version_policy
from shared.domain import ModelRef
from shared.networks.media_decoder import decode_all
from shared.networks.policy import Candidates
from shared.registry.loading import Loaded
from shared.registry.manifest import Manifest
from shared.registry.version_files import NAMES
from tests.unit.services.cli.conftest import Run
from tests.unit.services.gateway.fakes import Gateway
from tests.unit.services.gateway.test_versions import LOOP, register


@pytest.fixture
def hats(run: Run, gateway: Gateway) -> ModelRef:
    """The champion of a loop `hats`, beside which there is one alike."""
    for loop_id in ("hats", "caps"):
        assert run("loops", "put", loop_id, json.dumps(LOOP)).exit_code == 0
    return register(gateway, 3, champion=True)


@pytest.mark.usefixtures("hats")
def test_a_version_goes_from_one_loop_to_another_by_a_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "exports" / "three"
    exported = run("models", "export", "hats", "3", "--output", str(folder))
    assert exported.exit_code == 0, exported.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    again = run("models", "export", "hats", "3", "--output", str(folder))
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
    taken = run("models", "import", "caps", str(folder), "--json")
    assert json.loads(taken.stdout)["imported_from"]["model_version"] == "3"
    assert "which was there already" in run("models", "import", "caps", str(folder)).stderr
    with (folder / "policy.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"????")
    damaged = run("models", "import", "caps", str(folder))
    assert (damaged.exit_code, "policy.safetensors is not what SHA256SUMS says" in damaged.stderr) == (1, True)
    assert "manifest.json is missing" in run("models", "import", "caps", str(tmp_path)).stderr


def test_a_folder_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    class Broken(dict[str, bytes]):
        def items(self) -> Any:
            yield "README.md", b"x"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "half", Broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("hats")
def test_gc_says_what_would_go_and_why_the_rest_stays(run: Run) -> None:
    result = run("models", "gc", "hats", "--dry-run")
    assert result.exit_code == 0
    assert "it is one of the newest" in result.stdout
    assert "0 bytes would be given up" in result.stderr
    assert json.loads(run("models", "gc", "hats", "--json").stdout)["collected"] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_mlflow_loads_a_version_and_it_expects_what_the_services_do(
    hats: ModelRef, run: Run, gateway: Gateway, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow.pyfunc")
    pandas = pytest.importorskip("pandas")
    folder = tmp_path / "model"
    exported = run("models", "export-mlflow", "hats", "3", "--output", str(folder))
    assert exported.exit_code == 0, exported.stderr
    model = mlflow.load_model(str(folder))
    assert set(model.metadata.flavors) == {"python_function", "rewardloop"}
    rows = [{"title": "red shoe", "vector": [1.0, 0.0, 2.0]}, {"title": None, "vector": [0.5, 1.0, 0.0]}]
    told = model.predict(pandas.DataFrame(rows))
    manifest = Manifest.model_validate_json((folder / "version" / "manifest.json").read_bytes())
    expected = _expected(gateway, manifest, [{name: of for name, of in row.items() if of is not None} for row in rows])
    assert [list(row.values()) for row in told] == [pytest.approx(row, abs=1e-6) for row in expected]
    assert told[0].keys() == {"a", "b"}
    assert told[0]["a"] != pytest.approx(told[0]["b"], abs=1e-3)


def _expected(gateway: Gateway, manifest: Manifest, contexts: list[dict[str, Any]]) -> list[list[float]]:
    """By the three services' own functions."""
    store, architecture = gateway.ports.artifacts, manifest.architecture
    parts = {part: store.get(sha256) for part, sha256 in manifest.parts.items()}
    contexts = [
        {name: torch.tensor(of).numpy() if isinstance(of, list) else of for name, of in one.items()} for one in contexts
    ]
    encoder = Loaded(manifest, load_encoder(architecture, parts["encoding"]))
    encodings = encode(encoder, contexts, [], decode_all, store.get)
    fusion = load_fusion(architecture, parts["fusion"])
    with torch.inference_mode():
        states = fusion(encodings.embeddings, encodings.present)
        policy = load_version_policy(architecture, parts["policy"])
        candidates = Candidates.of([["a", "b"]] * len(contexts), [()] * len(contexts))
        scores = policy.score(states, candidates, None).in_range(*manifest.settings.reward.range)
    found: list[list[float]] = scores.expected_reward.tolist()
    return found
