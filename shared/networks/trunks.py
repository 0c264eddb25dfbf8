"""Pretrained encoders, frozen: loaded from files that are here, never from a network, by the library that made them.

Shapes: N values, D embedding, H and W sides of a picture.
"""

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shared.domain import Floats
from shared.loop_settings import ModalitySettings
from shared.networks.media import SIDE
from shared.networks.placement import ON_CPU, Placement
from shared.networks.preparation import Raw, Trunk
from shared.networks.trunk_files import WEIGHTS, TrunkError, TrunkFiles, find_files
from shared.registry.manifest import Architecture, TrunkIdentity

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH: Final = 32
EXTRAS: Final = {"sentence-transformers": "encoders-text", "timm": "encoders-image", "torchvision": "encoders-image"}
Stamp = tuple[tuple[str, int, int], ...]
# Where torchvision's networks have their classifiers.
CLASSIFIERS: Final = ("fc", "classifier", "heads", "head")


class TextTrunk:
    """A model of sentence-transformers."""

    side: Final = SIDE

    def __init__(self, model: "SentenceTransformer", placement: Placement) -> None:
        self._model = model.eval().requires_grad_(False)
        self._placement = placement
        # Its tokenizer is changed by each call.
        self._lock = threading.Lock()
        self.dimension: Final = self.encode([""]).shape[1]

    def encode(self, values: Sequence[Raw]) -> Floats:
        """[N, D]."""
        with self._lock, self._placement.arithmetic():
            found: Floats = self._model.encode(list(values), batch_size=BATCH, show_progress_bar=False)
        return found.astype(np.float32, copy=False)


class ImageTrunk:
    """A network without its classifier; `mean` and `deviation` are of each colour, from 0 to 1."""

    def __init__(
        self, network: nn.Module, side: int, mean: Sequence[float], deviation: Sequence[float], placement: Placement
    ) -> None:
        self._network = network.to(placement.device).eval().requires_grad_(False)
        self._placement = placement
        self._mean_311 = placement.send(torch.tensor(mean)[:, None, None])
        self._deviation_311 = placement.send(torch.tensor(deviation)[:, None, None])
        self.side: Final = side
        self.dimension: Final = self.encode([np.zeros((3, side, side), np.uint8)]).shape[1]

    def encode(self, values: Sequence[Raw]) -> Floats:
        """[N, D]."""
        with torch.inference_mode(), self._placement.arithmetic():
            found = [self._embed(values[start : start + BATCH]) for start in range(0, len(values), BATCH)]
            embeddings: Floats = self._placement.fetch(torch.cat(found)).numpy()
        return embeddings

    def _embed(self, pictures: Sequence[Raw]) -> Tensor:
        pixels = np.stack([np.asarray(picture) for picture in pictures])
        pixels_N3HW = self._placement.send(torch.from_numpy(pixels)).float() / 255.0
        embedded_ND: Tensor = self._network((pixels_N3HW - self._mean_311) / self._deviation_311)
        return embedded_ND.flatten(1)


class Trunks:
    """The pretrained encoders that a process has: each is loaded once, whatever names it. Callable from any thread."""

    def __init__(self, folder: Path | None = None, placement: Placement = ON_CPU) -> None:
        """`folder` holds one folder an encoder; None: those that packages hold are all."""
        self._folder = folder
        self._placement = placement
        self._lock = threading.Lock()
        self._identities: dict[tuple[str, Stamp], TrunkIdentity] = {}
        self._loaded: dict[tuple[str, str], Trunk] = {}

    def identities(self, modalities: Mapping[str, ModalitySettings]) -> dict[str, TrunkIdentity]:
        """Of what the modalities name, as it is here now, by modality; loads it. Blocks.

        Raises:
            TrunkError: one cannot be used; the text names the modality.
        """
        return {
            name: self._identity(name, modality.encoder)
            for name, modality in modalities.items()
            if modality.encoder is not None
        }

    def current(self, modalities: Mapping[str, ModalitySettings]) -> dict[str, Trunk]:
        """What the modalities name, as it is here now, by modality. Blocks.

        Raises:
            TrunkError: one cannot be used; the text names the modality.
        """
        identities = self.identities(modalities)
        return {name: self._loaded[str(modalities[name].encoder), one.sha256] for name, one in identities.items()}

    def of(self, architecture: Architecture) -> dict[str, Trunk]:
        """A version's encoders by modality, the very ones that it was made with. Blocks.

        Raises:
            TrunkError: one is not here, or not as it was.
        """
        return {name: self._get(architecture, name, trunk) for name, trunk in architecture.trunks.items()}

    def _get(self, architecture: Architecture, name: str, trunk: TrunkIdentity) -> Trunk:
        encoder = architecture.modalities[name].encoder
        assert encoder is not None
        if (encoder, trunk.sha256) not in self._loaded and self._identity(name, encoder) != trunk:
            raise TrunkError(
                f"modality '{name}': the files of `{encoder}` are not those that the version was made with: put those "
                "back, and give others another name"
            )
        return self._loaded[encoder, trunk.sha256]

    def _identity(self, name: str, encoder: str) -> TrunkIdentity:
        with self._lock:
            try:
                files = find_files(encoder, self._folder)
                stamped = encoder, files.stamp
                if stamped not in self._identities:
                    self._identities[stamped] = self._loaded_identity(encoder, files)
            except TrunkError as error:
                raise TrunkError(f"modality '{name}': {error}") from error
            return self._identities[stamped]

    def _loaded_identity(self, encoder: str, files: TrunkFiles) -> TrunkIdentity:
        sha256 = files.sha256
        if (encoder, sha256) not in self._loaded:
            self._loaded[encoder, sha256] = _load(files, self._placement)
        return TrunkIdentity(sha256=sha256, dimension=self._loaded[encoder, sha256].dimension)


def _load(files: TrunkFiles, placement: Placement) -> Trunk:
    # Read once, when the libraries are imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        with _staged(files) as folder:
            match files.library:
                case "sentence-transformers":
                    return _load_text(folder, placement)
                case "timm":
                    return _load_timm(folder, files, placement)
                case _:
                    return _load_torchvision(folder, files, placement)
    except ImportError as error:
        extra = EXTRAS[files.library]
        raise TrunkError(f"`{files.library}` is not installed here: install the extra `{extra}`") from error
    except Exception as error:
        # Files that are not what they seem surface as whatever the library stumbles over.
        raise TrunkError(f"`{files.library}` cannot read the files of `{files.name}`") from error


@contextmanager
def _staged(files: TrunkFiles) -> Iterator[Path]:
    """A folder of just these files: a library finds in it nothing that it could run."""
    with tempfile.TemporaryDirectory(prefix="rewardloop-encoder-") as temporary:
        for place, path in files.paths.items():
            staged = Path(temporary) / place
            staged.parent.mkdir(parents=True, exist_ok=True)
            staged.symlink_to(path.resolve())
        yield Path(temporary)


def _load_text(folder: Path, placement: Placement) -> Trunk:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return TextTrunk(
        SentenceTransformer(
            str(folder),
            device=str(placement.device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        ),
        placement,
    )


def _load_timm(folder: Path, files: TrunkFiles, placement: Placement) -> Trunk:
    import timm
    from timm.data import resolve_model_data_config

    described = _described(folder)
    network = timm.create_model(
        str(described.get("architecture", files.name)),
        pretrained=False,
        num_classes=0,
        pretrained_cfg=described.get("pretrained_cfg"),
    )
    _load_weights(network, folder)
    expected = resolve_model_data_config(network)
    return ImageTrunk(network, expected["input_size"][1], expected["mean"], expected["std"], placement)


def _load_torchvision(folder: Path, files: TrunkFiles, placement: Placement) -> Trunk:
    from torchvision.models import get_model, get_model_weights

    name = str(_described(folder).get("architecture", files.name))
    network = get_model(name, weights=None)
    for classifier in CLASSIFIERS:
        if hasattr(network, classifier):
            setattr(network, classifier, nn.Identity())
    _load_weights(network, folder)
    expected = get_model_weights(name).DEFAULT.transforms()
    return ImageTrunk(network, expected.crop_size[0], expected.mean, expected.std, placement)


def _described(folder: Path) -> dict[str, object]:
    """What `config.json` says, where there is one."""
    path = folder / "config.json"
    described: dict[str, object] = json.loads(path.read_text()) if path.is_file() else {}
    return described


def _load_weights(network: nn.Module, folder: Path) -> None:
    """Of everything that the network has; a classifier's, which it has not, are left out."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"*{WEIGHTS}")):
        tensors |= load_file(path)
    missing = network.load_state_dict(tensors, strict=False).missing_keys
    if missing:
        raise ValueError(f"weights are missing: {missing[:5]}")
