"""A model version as a model of MLflow's: its folder, and beside it what MLflow reads."""

import platform
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from typing import Final

from services.cli.api import CommandError
from shared.registry.version_files import checked

DISTRIBUTION: Final = "rewardloop-platform"
# What `python_function` loads it by: a module that the platform's distribution brings.
LOADER: Final = "shared.networks.exported_version"
FOLDER: Final = "version"


def mlflow_files(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Path → bytes of a model whose data are a version's files.

    Raises:
        CommandError: MLflow is not installed, or the version's loop lists no actions to be asked about.
    """
    found = checked(files)
    if not found.manifest.settings.actions:
        raise CommandError("its loop lists no actions: a model of MLflow's would not know what to tell about")
    requirement = f"{DISTRIBUTION}[models]=={installed_version(DISTRIBUTION)}"
    return {
        "MLmodel": _described(found.manifest_sha256, found.manifest.code_version).encode(),
        "requirements.txt": f"{requirement}\n".encode(),
        "python_env.yaml": f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n".encode(),
        **{f"{FOLDER}/{name}": data for name, data in files.items()},
    }


def _described(manifest_sha256: str, code_version: str) -> str:
    """As MLflow itself writes it."""
    try:
        from mlflow.models import Model
    except ImportError as error:
        raise CommandError(f"MLflow is not installed: pip install '{DISTRIBUTION}[mlflow]'") from error
    model = Model()
    model.add_flavor(
        "python_function",
        loader_module=LOADER,
        data=FOLDER,
        env={"virtualenv": "python_env.yaml"},
        python_version=platform.python_version(),
    )
    model.add_flavor("rewardloop", data=FOLDER, manifest_sha256=manifest_sha256, code_version=code_version)
    described: str = model.to_yaml()
    return described
