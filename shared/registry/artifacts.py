"""The artifact store: immutable bytes under the SHA-256 of what they are; written whole or not at all."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final

SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ArtifactError(RuntimeError):
    """An artifact cannot be served: it is missing, or its bytes are not what its name says."""


class ArtifactStore:
    """A folder of content-addressed files. What `put` returned is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def sha256_of(data: bytes) -> str:
        """The name under which bytes stand."""
        return hashlib.sha256(data).hexdigest()

    def put(self, data: bytes) -> str:
        """The SHA-256 of the bytes, lower-case hexadecimal, once they are durable."""
        sha256 = self.sha256_of(data)
        path = self._path(sha256)
        if path.is_file() and path.stat().st_size == len(data):
            return sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
        for folder in (path.parent, self._folder):
            _fsync_folder(folder)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The bytes under a hash.

        Raises:
            ArtifactError: nothing stands there, or not what the hash promises.
        """
        path = self._path(sha256)
        try:
            # A link could lead out of the store.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            raise ArtifactError(f"artifact {sha256} cannot be read: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            data = file.read()
        if self.sha256_of(data) != sha256:
            raise ArtifactError(f"artifact {sha256} is corrupt: its bytes have another hash")
        return data

    def size(self, sha256: str) -> int | None:
        """How many bytes stand under a hash; None where nothing does."""
        try:
            return self._path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, sha256: str) -> int:
        """Removes what stands under a hash; how many bytes it had, 0 where nothing did."""
        path, size = self._path(sha256), self.size(sha256)
        if size is None:
            return 0
        path.unlink(missing_ok=True)
        _fsync_folder(path.parent)
        return size

    def __contains__(self, sha256: str) -> bool:
        return self._path(sha256).is_file()

    def _path(self, sha256: str) -> Path:
        if SHA256.fullmatch(sha256) is None:
            raise ArtifactError(f"{sha256[:80]!r} is not a SHA-256")
        return self._folder / sha256[:2] / sha256


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
