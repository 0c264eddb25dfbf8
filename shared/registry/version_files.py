"""A model version as a folder that can be kept, read by a person, and brought to another platform; on the way, a tar.

    README.md                                    its model card
    manifest.json                                as it stands in the artifact store
    encoding.safetensors, fusion.safetensors, policy.safetensors
    SHA256SUMS                                   of all of these: `sha256sum --check` reads it

A reader takes the files of these names alone: no name that stands in a tar is ever used as a path.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, get_args

from pydantic import ValidationError

from shared.registry.manifest import Manifest, Part

CARD: Final = "README.md"
MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
PARTS: Final[Mapping[Part, str]] = {part: f"{part}.safetensors" for part in get_args(Part)}
NEEDED: Final = (MANIFEST, *PARTS.values())
NAMES: Final = (CARD, *NEEDED, SUMS)
# Of everything but weights.
MOST_TEXT: Final = 16 * 2**20
MODE: Final = 0o644


class VersionFilesError(ValueError):
    """What was given is no model version, or is damaged; the text says where."""


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A version's manifest, as parsed and as it was written, and the bytes of its parts, which have its hashes."""

    manifest: Manifest
    manifest_sha256: str
    parts: Mapping[Part, bytes]


def version_folder(manifest: bytes, parts: Mapping[Part, bytes], card: str) -> dict[str, bytes]:
    """Name → bytes of every file."""
    files = {CARD: card.encode(), MANIFEST: manifest, **{PARTS[part]: data for part, data in parts.items()}}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return files | {SUMS: sums.encode()}


def tar_of(files: Mapping[str, bytes], made_at: int) -> Iterator[bytes]:
    """A tar of files, a piece at a time; `made_at` in microseconds. Of the same files it is the same."""
    for name, data in files.items():
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(data), made_at // 1_000_000, MODE
        yield info.tobuf(tarfile.USTAR_FORMAT)
        yield data
        yield bytes(-len(data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def tar_size(files: Mapping[str, bytes]) -> int:
    """Bytes of that tar."""
    blocks = sum(1 + -(-len(data) // tarfile.BLOCKSIZE) for data in files.values()) + 2
    return blocks * tarfile.BLOCKSIZE


def read_tar(archive: IO[bytes], most_bytes: int) -> dict[str, bytes]:
    """Name → bytes of a version's files.

    Raises:
        VersionFilesError: it is cut or no tar, holds something else, or unpacks to more than `most_bytes`.
    """
    files: dict[str, bytes] = {}
    left = most_bytes
    try:
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            for member in tar:
                _hold_member(member, files, left)
                file = tar.extractfile(member)
                assert file is not None
                files[member.name] = file.read(member.size)
                left -= member.size
    except (tarfile.TarError, EOFError, ValueError) as error:
        if isinstance(error, VersionFilesError):
            raise
        raise VersionFilesError("it is no tar, or was cut off") from error
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """Name → bytes of those of a version's files that stand in a folder.

    Raises:
        OSError: one cannot be read.
    """
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).is_file()}


def checked(files: Mapping[str, bytes]) -> VersionFiles:
    """The version that files make up, every byte of its weights by its hash.

    Raises:
        VersionFilesError: a file is missing, damaged, or not as the manifest says.
    """
    missing = [name for name in NEEDED if name not in files]
    if missing:
        raise VersionFilesError(f"{missing[0]} is missing")
    _hold_sums(files)
    try:
        manifest = Manifest.model_validate_json(files[MANIFEST])
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise VersionFilesError(f"{MANIFEST} cannot be read: {place}: {first['msg']}") from error
    if manifest.parts.keys() != PARTS.keys():
        raise VersionFilesError(f"{MANIFEST} does not name the parts {', '.join(PARTS)}")
    for part, name in PARTS.items():
        if hashlib.sha256(files[name]).hexdigest() != manifest.parts[part]:
            raise VersionFilesError(f"{name} is not what {MANIFEST} says: its SHA-256 is another one")
    parts = {part: files[name] for part, name in PARTS.items()}
    return VersionFiles(manifest, hashlib.sha256(files[MANIFEST]).hexdigest(), parts)


def _hold_member(member: tarfile.TarInfo, files: Iterable[str], left: int) -> None:
    if member.name not in NAMES or not member.isreg():
        raise VersionFilesError(f"it holds {member.name[:80]!r}: only the files {', '.join(NAMES)} belong in it")
    if member.name in files:
        raise VersionFilesError(f"it holds {member.name} twice")
    if member.size > left or (member.name not in PARTS.values() and member.size > MOST_TEXT):
        raise VersionFilesError(f"{member.name} is too large")


def _hold_sums(files: Mapping[str, bytes]) -> None:
    for line in files.get(SUMS, b"").decode("utf-8", "replace").splitlines():
        sha256, _, name = line.partition("  ")
        if name in NAMES and (name not in files or hashlib.sha256(files[name]).hexdigest() != sha256):
            raise VersionFilesError(f"{name} is not what {SUMS} says: it was changed or damaged on the way")
