"""A model version's folder as a model to ask: what it expects of each action, as it was when it was published.

MLflow's `python_function` loads it by `_load_pyfunc`; nothing here needs MLflow. Its head learns nothing here.
Shapes: B contexts, A actions.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch

from shared.domain import Action, Context, ContextValue, Media
from shared.networks.batches import collate, collate_bags
from shared.networks.media_decoder import decode_all
from shared.networks.parts import build_encoder, build_fusion, load_module, load_policy
from shared.networks.policy import Candidates, Policy
from shared.networks.preparation import prepare
from shared.networks.preprocessing import action_features
from shared.networks.trunks import Trunks
from shared.registry.artifacts import ArtifactError
from shared.registry.version_files import VersionFiles, checked, read_folder

ENCODER_FOLDER = "REWARDLOOP_ENCODER_FOLDER"


class Rows(Protocol):
    """A pandas.DataFrame, as far as it is used."""

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """With "records": a dict a row."""


class ExportedVersion:
    """Encoders, fusion and policy of a version whose loop lists its actions."""

    def __init__(self, files: VersionFiles, encoder_folder: Path | None = None) -> None:
        """Raises:
        WeightsError: the weights are not servable.
        TrunkError: a pretrained encoder is not in `encoder_folder`, or not as it was.
        """
        architecture, settings = files.manifest.architecture, files.manifest.settings
        self._modalities = architecture.modalities
        self._encoder = load_module(build_encoder(architecture), files.parts["encoding"])
        self._fusion = load_module(build_fusion(architecture), files.parts["fusion"])
        self._policy = Policy(architecture, *load_policy(architecture, files.parts["policy"]))
        self._trunks = Trunks(encoder_folder).of(architecture)
        self._actions = [Action(action.id, action.features) for action in settings.actions]
        self._range = settings.reward.range

    def predict(self, rows: Rows, _: object = None) -> list[dict[str, float]]:
        """Of each row the expected reward of each action, in the reward's unit. A column is a modality: a text, a list
        of numbers, a dict of a table's fields, or a medium's bytes; None where it is missing.

        Raises:
            ValueError: a value cannot be read.
        """
        contexts = [_context(row) for row in rows.to_dict("records")]
        prepared, refusals = prepare(contexts, self._modalities, decode_all, _no_store, self._trunks)
        if refusals:
            raise ValueError(f"row {refusals[0].row}, {refusals[0].modality}: {refusals[0].reason}")
        ids = [action.id for action in self._actions]
        candidates = Candidates.of([ids] * len(contexts), [()] * len(contexts))
        with torch.inference_mode():
            states_BS = self._fusion(*self._encoder(collate(prepared, list(self._modalities))))
            actions_ND = None
            if self._policy.architecture.action_features:
                bags = [action_features(action) for action in self._actions]
                actions_ND = self._encoder.encode_actions(collate_bags(bags)).repeat(len(contexts), 1)
            scores = self._policy.score(states_BS, candidates, actions_ND).in_range(*self._range)
        return [dict(zip(ids, row, strict=True)) for row in scores.expected_reward.tolist()]


def _load_pyfunc(path: str) -> ExportedVersion:
    folder = os.environ.get(ENCODER_FOLDER)
    return ExportedVersion(checked(read_folder(Path(path))), None if folder is None else Path(folder))


def _context(row: Mapping[str, Any]) -> Context:
    return {name: _value(value) for name, value in row.items() if not _is_missing(value)}


def _value(value: Any) -> ContextValue:
    """The type is pandas' choice: whatever stood in the cell."""
    if isinstance(value, bytes):
        return Media("application/octet-stream", "", value)
    is_list = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    found: ContextValue = np.asarray(value, np.float32) if is_list else value
    return found


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _no_store(sha256: str) -> NoReturn:
    raise ArtifactError(f"artifact {sha256}: there is no store here")
