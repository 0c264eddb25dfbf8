"""Where the files of a pretrained encoder stand, and which they are; no torch.

Weights are safetensors, everything else JSON, plain text or a SentencePiece vocabulary: files of any other kind are not
seen, so that neither a pickle nor a module of Python that came with a model is ever read.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import Final

KINDS: Final = frozenset({".json", ".txt", ".model", ".safetensors"})
WEIGHTS: Final = ".safetensors"


class TrunkError(RuntimeError):
    """A pretrained encoder cannot be used; the text is for the loop's owner and holds no path of this machine."""


@dataclass(frozen=True, slots=True)
class TrunkFiles:
    """What a loop's setting names: the library that reads it, its name, and its files by their place in its folder."""

    library: str
    name: str
    paths: Mapping[str, Path]

    @property
    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Another whenever a file was written anew, as far as the file system tells; cheap."""
        states = ((place, path.stat()) for place, path in sorted(self.paths.items()))
        return tuple((place, state.st_size, state.st_mtime_ns) for place, state in states)

    @property
    def sha256(self) -> str:
        """Of all files with their places: the same wherever the folder stands."""
        lines = []
        for place, path in sorted(self.paths.items()):
            with path.open("rb") as file:
                lines.append(f"{place}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_files(encoder: str, folder: Path | None) -> TrunkFiles:
    """Of the folder `<folder>/<name>`, else of the installed package `<name>`; `encoder` is `<library>:<name>`.

    Raises:
        TrunkError: neither is there, or it holds no safetensors.
    """
    library, _, name = encoder.partition(":")
    found = (folder and _of_folder(folder / name)) or _of_package(name)
    if not any(place.endswith(WEIGHTS) for place in found):
        raise TrunkError(
            f"no weights of `{encoder}`: neither a folder `{name}` in REWARDLOOP_ENCODER_FOLDER (by default `encoders` "
            f"in the state folder) nor an installed package `{name}` holds a file *{WEIGHTS}; put the model's files "
            "there, or install the package, on the machines of the trainer and of encoding"
        )
    return TrunkFiles(library, name, found)


def _of_folder(folder: Path) -> dict[str, Path]:
    inside = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*"))
    return {place: path for place, path in inside if path.suffix in KINDS and path.is_file()}


def _of_package(name: str) -> dict[str, Path]:
    """What a package holds in the folder of its weights, the topmost where there are several, and below it."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return {}
    folders = {PurePosixPath(file).parent for file in files if file.suffix == WEIGHTS}
    if not folders:
        return {}
    root = min(folders, key=lambda folder: len(folder.parts))
    inside = [file for file in files if file.suffix in KINDS and PurePosixPath(file).is_relative_to(root)]
    return {PurePosixPath(file).relative_to(root).as_posix(): Path(str(file.locate())) for file in inside}
