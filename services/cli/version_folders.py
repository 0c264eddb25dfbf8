"""Folders of model versions on this machine: written whole or not at all, and read back."""

import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.cli.api import Api, CommandError, loop_path
from shared.registry.version_files import VersionFilesError, checked, read_folder, read_tar

TAR: Final = "application/x-tar"


def version_files(api: Api, loop_id: str, version: str) -> dict[str, bytes]:
    """The files of a version, asked of the platform, each with the hash that its manifest has.

    Raises:
        CommandError: there is no such version, or it came damaged.
    """
    tar = api.get_bytes(loop_path(loop_id, "models", version, "files"))
    try:
        files = read_tar(io.BytesIO(tar), len(tar))
        checked(files)
    except VersionFilesError as error:
        raise CommandError(f"version {version} came damaged: {error}") from error
    return files


def read_version(folder: Path) -> dict[str, bytes]:
    """The files of a version's folder.

    Raises:
        CommandError: it is none, or damaged.
    """
    try:
        files = read_folder(folder)
        checked(files)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    except VersionFilesError as error:
        raise CommandError(f"{folder} holds no model version: {error}") from error
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes a folder of files, which are durable when it is there.

    Raises:
        CommandError: there is one already, or it cannot be written.
    """
    if folder.exists():
        raise CommandError(f"{folder} is there already: name another one")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            for name, data in files.items():
                _write(made / name, data)
            made.chmod(0o755)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
